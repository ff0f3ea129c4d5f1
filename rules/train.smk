"""Trains every run of every study: tuning runs and reporting runs use the same job.

Needs: a prepared data set. Gives: results/<name>/runs/<settings>/<seed>/ with metrics.parquet and
run.json (summary, settings, routing and provenance), which is written last. A reporting run also
has the folder records/, with what its observers recorded and the snapshots of its weights that a
later job reads. An unfinished run is kept in <seed>.partial. Snakemake does not know that folder
and so does not delete it; the next attempt continues from it.
"""

RUN = f"{ROOT}/runs/{{run}}"


rule train_run:
    input:
        # This file shows whether the data changed. The splits themselves are not inputs: they are
        # too large to hash for every run, and listing them for thousands of runs would slow
        # Snakemake down by seconds. The targets request them instead.
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
        mem_mb=train_memory if asks_by_run("mem_mb") else OUTPUTS.most_memory(),
        runtime=train_minutes if asks_by_run("runtime") else OUTPUTS.most_minutes(trains_on_gpu()),
        gpu=0,
        # More than one: one run over so many processes, with a GPU or a thread for each.
        processes=1,
        gpu_slots=1,
        checkpoint_seconds=30,
        log_to="",
        # A resource, not a param: editing code that only observes a run retrains nothing.
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
