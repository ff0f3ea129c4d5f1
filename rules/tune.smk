"""Tuning: the best settings of each arm, and the loss at which its runs are compared.

Needs: the tuning runs. Gives: results/<name>/<study>/tuning/round-<n>.json, the trials that follow
from those of earlier rounds (none for a grid that is not extended), and selection.json. Later jobs
get what was chosen by value: a learning rate that is added and does not win retrains nothing else.
"""


checkpoint propose:
    input:
        records=lambda wildcards: OUTPUTS.trial_records(
            known(wildcards.study, int(wildcards.round) - 1)
        ),
    output:
        proposal=f"{ROOT}/{{study}}/tuning/round-{{round}}.json",
    log:
        f"{ROOT}/logs/propose/{{study}}-{{round}}.log",
    conda:
        "../envs/report.yaml"
    params:
        job=proposal_job,
    message:
        "Proposing trials of {wildcards.study}, round {wildcards.round}"
    script:
        "../workflow_scripts/tune.py"


checkpoint select:
    input:
        records=lambda wildcards: OUTPUTS.trial_records(known(wildcards.study)),
    output:
        selection=f"{ROOT}/{{study}}/tuning/selection.json",
    log:
        f"{ROOT}/logs/select/{{study}}.log",
    conda:
        "../envs/report.yaml"
    params:
        job=lambda wildcards: tuning_job(wildcards.study, known(wildcards.study)),
    message:
        "Choosing the settings of each arm of {wildcards.study}"
    script:
        "../workflow_scripts/tune.py"
