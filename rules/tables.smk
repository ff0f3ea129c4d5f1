"""Tables: runs, summary, tuning and measurements of each study, as CSV.

Needs: the reporting runs, tuning's selection and what was measured. Gives: results/<study>/tables/*.csv.
"""


rule tabulate_runs:
    input:
        summaries=reporting_files("summary.json"),
        provenances=reporting_files("provenance.json"),
        matched=matched_records,
    output:
        runs=report(
            "results/{study}/tables/runs.csv",
            caption="captions/runs.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "runs"},
        ),
        summary=report(
            "results/{study}/tables/summary.csv",
            caption="captions/summary.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "summary"},
        ),
    log:
        "results/logs/tabulate_runs/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_runs.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Tabulating the runs of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_runs.py"


rule tabulate_tuning:
    input:
        selection="results/{study}/tuning/selection.json",
    output:
        tuning=report(
            "results/{study}/tables/tuning.csv",
            caption="captions/tuning.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "tuning"},
        ),
    log:
        "results/logs/tabulate_tuning/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=job("tabulate_tuning.py"),
    message:
        "Tabulating the tuning of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_tuning.py"


rule tabulate_spectra:
    input:
        records=study_files("spectra", "parquet"),
    output:
        table=report(
            "results/{study}/tables/spectra.csv",
            caption="captions/spectra_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "spectra"},
        ),
    log:
        "results/logs/tabulate_spectra/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_spectra.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Tabulating the spectra of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_spectra.py"


rule tabulate_curvature:
    input:
        records=study_files("curvature", "parquet"),
    output:
        table=report(
            "results/{study}/tables/curvature.csv",
            caption="captions/curvature_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "curvature"},
        ),
    log:
        "results/logs/tabulate_curvature/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_curvature.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Tabulating the curvature of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_curvature.py"


rule tabulate_quantization:
    input:
        records=study_files("quantized", "parquet"),
    output:
        table=report(
            "results/{study}/tables/quantization.csv",
            caption="captions/quantization_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "quantization"},
        ),
    log:
        "results/logs/tabulate_quantization/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_quantization.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Tabulating the quantization of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_quantization.py"
