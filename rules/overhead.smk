"""Overhead: where the time of a step goes in two arms, and whether what Muon costs is paid back.

Needs: the reporting runs. Gives: results/<study>/overhead/profile.json (seconds of every part of
every timed step, seconds and flops of each shape, memory), trace.json.gz (for ui.perfetto.dev or
chrome://tracing), tables/overhead.csv and overhead_shapes.csv, and figures/overhead.

The profile reserves all cores of the invocation, so that no other job of it runs meanwhile, and a
GPU where its resource `gpu` asks for one. It cannot keep away other programs, other users or a
second invocation: the two arms take turns step by step, medians are reported, and the machine's
load is written down. On a cluster it has what its job is given; ask for a node of its own there
(`set-resources: profile_overhead:slurm_extra="'--exclusive'"`).
"""


rule profile_overhead:
    input:
        configs=lambda wildcards: overhead_files(wildcards.study, "config.json", first=True),
        provenances=lambda wildcards: overhead_files(wildcards.study, "provenance.json", first=True),
        digest=lambda wildcards: f"{study_data(wildcards)}/digest.json",
        splits=lambda wildcards: ancient(split_files(PLAN.studies[wildcards.study].data)),
    output:
        profile="results/{study}/overhead/profile.json",
        trace="results/{study}/overhead/trace.json.gz",
    log:
        "results/logs/profile_overhead/{study}.log",
    conda:
        "../envs/train.yaml"
    threads: lambda wildcards: all_cores()
    resources:
        mem_mb=2500,
        gpu=0,
    params:
        job=lambda wildcards: overhead_job(wildcards.study),
    message:
        "Profiling the steps of {wildcards.study}"
    script:
        "../workflow_scripts/profile_overhead.py"


rule tabulate_overhead:
    input:
        profile="results/{study}/overhead/profile.json",
        metrics=lambda wildcards: overhead_files(wildcards.study, "metrics.parquet"),
        provenances=lambda wildcards: overhead_files(wildcards.study, "provenance.json"),
    output:
        overhead=report(
            "results/{study}/tables/overhead.csv",
            caption="captions/overhead_table.rst",
            category="{study}",
            subcategory="overhead",
            labels={"table": "overhead"},
        ),
        shapes=report(
            "results/{study}/tables/overhead_shapes.csv",
            caption="captions/overhead_shapes.rst",
            category="{study}",
            subcategory="overhead",
            labels={"table": "overhead by shape"},
        ),
    log:
        "results/logs/tabulate_overhead/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_overhead.py",
            study=study_context(wildcards.study),
            runs=overhead_runs(wildcards.study),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating the overhead of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_overhead.py"


rule plot_overhead:
    input:
        profile="results/{study}/overhead/profile.json",
        metrics=lambda wildcards: overhead_files(wildcards.study, "metrics.parquet"),
    output:
        svg=report(
            "results/{study}/figures/overhead.svg",
            caption="captions/overhead.rst",
            category="{study}",
            subcategory="overhead",
            labels={"figure": "what a step costs"},
        ),
        png="results/{study}/figures/overhead.png",
    log:
        "results/logs/plot_overhead/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_overhead.py",
            study=study_context(wildcards.study),
            runs=overhead_runs(wildcards.study),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Drawing the overhead of {wildcards.study}"
    script:
        "../workflow_scripts/plot_overhead.py"
