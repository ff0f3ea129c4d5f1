"""Tunes each arm: chooses its settings.

Needs: the tuning runs. Gives: results/<name>/<study>/tuning/selection.json, which holds the chosen
settings, and round-<n>.json for each later round, which holds the trials that follow from those of
earlier rounds (there is none where the method has one round). Later jobs receive the chosen
values as params, so adding a learning rate that does not win retrains nothing else.
"""


checkpoint propose:
    input:
        records=lambda wildcards: OUTPUTS.trial_records(
            known(wildcards.study, int(wildcards.round) - 1)
        ),
        before=lambda wildcards: proposals(wildcards.study, int(wildcards.round) - 1),
    output:
        proposal=f"{ROOT}/{{study}}/tuning/round-{{round}}.json",
    log:
        f"{ROOT}/logs/propose/{{study}}-{{round}}.log",
    localrule: True
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
        before=lambda wildcards: proposals(wildcards.study),
    output:
        selection=f"{ROOT}/{{study}}/tuning/selection.json",
    log:
        f"{ROOT}/logs/select/{{study}}.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        job=lambda wildcards: tuning_job(wildcards.study, known(wildcards.study)),
    message:
        "Choosing the settings of each arm of {wildcards.study}"
    script:
        "../workflow_scripts/tune.py"
