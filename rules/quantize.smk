"""Quantization: each reporting run's weights in fewer bits, at matched loss and at the end.

Needs: the reporting runs, their matched losses and the test split. Gives:
results/<study>/quantized/<arm>/seed-<n>.parquet: accuracy and loss for each scheme and number of
bits, and the error of each matrix.
"""


rule quantize:
    input:
        **measured_run(),
        split=lambda wildcards: ancient(split_files(PLAN.studies[wildcards.study].data, ["test"])),
    output:
        quantized="results/{study}/quantized/{arm}/seed-{seed}.parquet",
    log:
        "results/logs/quantize/{study}/{arm}/seed-{seed}.log",
    # Before more training: every job that waits costs the scheduler time.
    priority: 10
    conda:
        "../envs/measure.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        gpu=0,
    params:
        job=lambda wildcards: measuring_job(
            "quantize.py",
            wildcards.study,
            settings=PLAN.studies[wildcards.study].measure["quantization"],
        ),
    message:
        "Quantizing {wildcards.study} {wildcards.arm} seed {wildcards.seed}"
    script:
        "../workflow_scripts/quantize.py"
