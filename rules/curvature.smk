"""Curvature: the Hessian of the loss on one fixed batch, at snapshots along each run.

Needs: the reporting runs and their matched losses. Gives:
results/<study>/curvature/<arm>/seed-<n>.parquet: top eigenvalues, trace, directional sharpness and
density at the points start, matched and end, and all but the density along the trajectory.
"""


rule measure_curvature:
    input:
        **measured_run(),
        # Nothing in the batch depends on the run: its data are there, and digest.json says which.
        split=lambda wildcards: ancient(split_files(PLAN.studies[wildcards.study].data, ["train"])),
    output:
        curvature="results/{study}/curvature/{arm}/seed-{seed}.parquet",
    log:
        "results/logs/measure_curvature/{study}/{arm}/seed-{seed}.log",
    # Before more training: every job that waits costs the scheduler time.
    priority: 10
    conda:
        "../envs/measure.yaml"
    threads: 1
    resources:
        mem_mb=2500,
        gpu=0,
    params:
        job=lambda wildcards: measuring_job(
            "measure_curvature.py",
            wildcards.study,
            settings=PLAN.studies[wildcards.study].measure["curvature"],
        ),
    message:
        "Measuring the curvature of {wildcards.study} {wildcards.arm} seed {wildcards.seed}"
    script:
        "../workflow_scripts/measure_curvature.py"
