"""Training: the same job for every run of every study, for tuning and for reporting.

Needs: a prepared data set. Gives: results/<name>/runs/<settings>/<seed>/ with metrics.parquet,
run.json (summary, settings, routing and provenance), written last. A reporting run also has
the folder records/ with what it was watched by and the snapshots of its weights that something
reads. An unfinished run lies in <seed>.partial, which Snakemake does not know and therefore does
not delete; the next attempt goes on from there.
"""

RUN = f"{ROOT}/runs/{{run}}"


rule train_run:
    input:
        # It says whether the data changed. The splits are too large to hash for every run, and as
        # files of thousands of runs they would cost the plan seconds; targets ask for them.
        digest=lambda wildcards: f"{ROOT}/data/{run_data(wildcards)}/digest.json",
    output:
        metrics=f"{RUN}/metrics.parquet",
        record=f"{RUN}/run.json",
        records=directory(f"{RUN}/records"),
    log:
        f"{ROOT}/logs/train/{{run}}.log",
    wildcard_constraints:
        run=REPORTING_PATTERN,
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards: OUTPUTS.memory(WRITTEN.config(wildcards.run)),
        gpu=0,
        checkpoint_seconds=30,
        log_to="",
        # Not among the params: an edit of what only watches a run trains nothing anew.
        observers=observer_digest(),
    params:
        job=train_job,
    message:
        "Training {wildcards.run}"
    script:
        "../workflow_scripts/train.py"


use rule train_run as train_trial with:
    output:
        metrics=f"{RUN}/metrics.parquet",
        record=f"{RUN}/run.json",
    wildcard_constraints:
        run=TUNING_PATTERN,
    message:
        "Training {wildcards.run} for tuning"
