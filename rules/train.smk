"""Training: one rule for every run of every study, for tuning and for reporting.

Needs: a prepared data set. Gives: results/runs/<run>/ with the resolved config, metrics, routing
manifest, snapshots, final weights, provenance and, written last, the summary. Reporting runs also
follow the geometry of their weights (geometry.parquet) and their components (components.parquet)
where the study asks for it, and keep the update that led to each snapshot (updates/); tuning runs
leave these empty. An unfinished run lies in <run>.partial, which
Snakemake does not know and therefore does not delete; the next attempt goes on from there.
"""


rule train:
    input:
        # The digest says whether the data changed; the splits themselves are too large to hash for
        # every run and only have to be there.
        digest=lambda wildcards: f"{run_data(wildcards)}/digest.json",
        splits=lambda wildcards: ancient(split_files(PLAN.runs[wildcards.run]["data"])),
    output:
        config="results/runs/{run}/config.json",
        metrics="results/runs/{run}/metrics.parquet",
        routing="results/runs/{run}/routing.csv",
        geometry="results/runs/{run}/geometry.parquet",
        components="results/runs/{run}/components.parquet",
        snapshots=directory("results/runs/{run}/snapshots"),
        updates=directory("results/runs/{run}/updates"),
        weights="results/runs/{run}/weights.safetensors",
        provenance="results/runs/{run}/provenance.json",
        summary="results/runs/{run}/summary.json",
    log:
        "results/logs/train/{run}.log",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards: run_memory(wildcards.run),
        gpu=0,
        checkpoint_seconds=30,
        log_to="",
    params:
        job=lambda wildcards: train_job(wildcards.run),
    message:
        "Training {wildcards.run}"
    script:
        "../workflow_scripts/train.py"
