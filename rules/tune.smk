"""Tuning: the best settings of each arm, the common loss, and the snapshots that match it.

Needs: the tuning runs. Gives: results/<study>/tuning/round-<n>.json, the trials that follow from
those of earlier rounds (none for a grid that is not extended); selection.json; and in
results/<study>/matched/ for each reporting run the weights at the first snapshot whose loss is at or
under the target, or records.json alone where nothing is measured at that point.
"""


checkpoint propose:
    input:
        summaries=lambda wildcards: trial_summaries(wildcards.study, int(wildcards.round) - 1),
    output:
        proposal="results/{study}/tuning/round-{round}.json",
    log:
        "results/logs/propose/{study}-{round}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "propose_trials.py",
            round=int(wildcards.round),
            tuning=PLAN.studies[wildcards.study].tuning,
            limits=tuned_limits(wildcards.study),
            spaces=search_spaces(wildcards.study, int(wildcards.round) - 1),
            trials=trial_records(wildcards.study, int(wildcards.round) - 1),
        ),
    message:
        "Proposing trials of {wildcards.study}, round {wildcards.round}"
    script:
        "../workflow_scripts/propose_trials.py"


checkpoint select:
    input:
        summaries=lambda wildcards: trial_summaries(wildcards.study),
    output:
        selection="results/{study}/tuning/selection.json",
    log:
        "results/logs/select/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "select_trials.py",
            tuning=PLAN.studies[wildcards.study].tuning,
            spaces=search_spaces(wildcards.study),
            trials=trial_records(wildcards.study),
        ),
    message:
        "Choosing the settings of each arm of {wildcards.study}"
    script:
        "../workflow_scripts/select_trials.py"


rule match_loss:
    input:
        metrics=lambda wildcards: f"{reporting_run(wildcards)}/metrics.parquet",
        summary=lambda wildcards: f"{reporting_run(wildcards)}/summary.json",
        # Its time stamp is that of the run, and the metrics already say whether the run changed.
        snapshots=lambda wildcards: ancient(f"{reporting_run(wildcards)}/snapshots"),
    output:
        weights="results/{study}/matched/{arm}/seed-{seed}.safetensors",
        record="results/{study}/matched/{arm}/seed-{seed}.json",
    log:
        "results/logs/match_loss/{study}/{arm}/seed-{seed}.log",
    # Before more training: every job that waits costs the scheduler time.
    priority: 10
    conda:
        "../envs/tables.yaml"
    params:
        # The target goes in by value: a grid that grows by a losing rate leaves it as it is.
        job=lambda wildcards: job(
            "match_loss.py", target=read_selection(wildcards.study)["target_loss"]
        ),
    message:
        "Taking {wildcards.study} {wildcards.arm} seed {wildcards.seed} at the common loss"
    script:
        "../workflow_scripts/match_loss.py"


rule match_losses:
    input:
        metrics=reporting_files("metrics.parquet"),
        summaries=reporting_files("summary.json"),
        snapshots=lambda wildcards: ancient(reporting_files("snapshots")(wildcards)),
    output:
        records="results/{study}/matched/records.json",
    log:
        "results/logs/match_losses/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "match_losses.py", target=read_selection(wildcards.study)["target_loss"]
        ),
    message:
        "Finding where the runs of {wildcards.study} are at the common loss"
    script:
        "../workflow_scripts/match_losses.py"
