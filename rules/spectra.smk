"""Spectra: singular values of every weight matrix, and of its way from the start.

Needs: the reporting runs and their matched losses. Gives:
results/<study>/spectra/<arm>/seed-<n>.parquet, one row for each point (start, matched, end), matrix
and metric. What happens between these points is in the runs' own geometry.parquet.
"""


rule measure_spectra:
    input:
        **measured_run(),
    output:
        spectra="results/{study}/spectra/{arm}/seed-{seed}.parquet",
    log:
        "results/logs/measure_spectra/{study}/{arm}/seed-{seed}.log",
    # Before more training: every job that waits costs the scheduler time.
    priority: 10
    conda:
        "../envs/measure.yaml"
    params:
        job=lambda wildcards: measuring_job("measure_spectra.py", wildcards.study),
    message:
        "Measuring the spectra of {wildcards.study} {wildcards.arm} seed {wildcards.seed}"
    script:
        "../workflow_scripts/measure_spectra.py"
