"""Figures of each study, as SVG and PNG.

Needs: the reporting runs' metrics and tuning's selection. Gives: results/<study>/figures/*.
"""


rule plot_learning_curves:
    input:
        metrics=reporting_files("metrics.parquet"),
        digest=lambda wildcards: f"results/data/{PLAN.studies[wildcards.study].data}/digest.json",
    output:
        svg=report(
            "results/{study}/figures/learning_curves.svg",
            caption="captions/learning_curves.rst",
            category="{study}",
            subcategory="training",
            labels={"figure": "learning curves"},
        ),
        png="results/{study}/figures/learning_curves.png",
    log:
        "results/logs/plot_learning_curves/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_learning_curves.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the learning curves of {wildcards.study}"
    script:
        "../workflow_scripts/plot_learning_curves.py"


rule plot_lr_sweep:
    input:
        selection="results/{study}/tuning/selection.json",
    output:
        svg=report(
            "results/{study}/figures/lr_sweep.svg",
            caption="captions/lr_sweep.rst",
            category="{study}",
            subcategory="tuning",
            labels={"figure": "learning-rate sweep"},
        ),
        png="results/{study}/figures/lr_sweep.png",
    log:
        "results/logs/plot_lr_sweep/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job("plot_lr_sweep.py", study=study_context(wildcards.study)),
    message:
        "Drawing the learning-rate sweep of {wildcards.study}"
    script:
        "../workflow_scripts/plot_lr_sweep.py"
