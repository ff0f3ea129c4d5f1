"""Tables: runs, summary and tuning of each study, as CSV.

Needs: the reporting runs and tuning's selection. Gives: results/<study>/tables/*.csv.
"""


rule tabulate_runs:
    input:
        summaries=reporting_files("summary.json"),
        provenances=reporting_files("provenance.json"),
        matched=matched_files("json"),
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
