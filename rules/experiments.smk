"""Experiments of a study: what components are worth, one setting at a time, components and experts.

Needs: the reporting runs, tuning's selection, and the factorials that the config asks for. Gives:
results/<study>/tables/{factorials,one_at_a_time}.csv and the figures that belong to them, each where
the study has what it is about.
"""


rule tabulate_factorials:
    input:
        summaries=reporting_files("summary.json"),
    output:
        table=report(
            "results/{study}/tables/factorials.csv",
            caption="captions/factorials.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "factorials"},
        ),
    log:
        "results/logs/tabulate_factorials/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_factorials.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            factorials=PLAN.studies[wildcards.study].measure["factorials"],
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating the factorials of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_factorials.py"


rule plot_contributions:
    input:
        table=tuned_table("factorials"),
    output:
        svg=report(
            "results/{study}/figures/contributions.svg",
            caption="captions/contributions.rst",
            category="{study}",
            subcategory="experiments",
            labels={"figure": "contributions of components"},
        ),
        png="results/{study}/figures/contributions.png",
    log:
        "results/logs/plot_contributions/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_contributions.py",
            study=study_context(wildcards.study),
            factorials=PLAN.studies[wildcards.study].measure["factorials"],
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Drawing the contributions of components of {wildcards.study}"
    script:
        "../workflow_scripts/plot_contributions.py"


rule tabulate_one_at_a_time:
    input:
        selection=selection_file,
        summaries=reporting_files("summary.json"),
    output:
        table=report(
            "results/{study}/tables/one_at_a_time.csv",
            caption="captions/one_at_a_time.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "one setting at a time"},
        ),
    log:
        "results/logs/tabulate_one_at_a_time/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_one_at_a_time.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            sweeps=arm_sweeps(PLAN.studies[wildcards.study]),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating one setting at a time of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_one_at_a_time.py"


rule plot_one_at_a_time:
    input:
        selection=selection_file,
        summaries=reporting_files("summary.json"),
    output:
        svg=report(
            "results/{study}/figures/one_at_a_time.svg",
            caption="captions/one_at_a_time.rst",
            category="{study}",
            subcategory="tuning",
            labels={"figure": "one setting at a time"},
        ),
        png="results/{study}/figures/one_at_a_time.png",
    log:
        "results/logs/plot_one_at_a_time/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_one_at_a_time.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            sweeps=arm_sweeps(PLAN.studies[wildcards.study]),
        ),
    message:
        "Drawing one setting at a time of {wildcards.study}"
    script:
        "../workflow_scripts/plot_one_at_a_time.py"


rule plot_tuning_heatmap:
    input:
        selection=selection_file,
    output:
        svg=report(
            "results/{study}/figures/tuning_heatmap.svg",
            caption="captions/tuning_heatmap.rst",
            category="{study}",
            subcategory="tuning",
            labels={"figure": "tuning grids"},
        ),
        png="results/{study}/figures/tuning_heatmap.png",
    log:
        "results/logs/plot_tuning_heatmap/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_tuning_heatmap.py",
            study=study_context(wildcards.study),
        ),
    message:
        "Drawing the tuning grids of {wildcards.study}"
    script:
        "../workflow_scripts/plot_tuning_heatmap.py"


rule plot_components:
    input:
        records=lambda wildcards: [
            f"results/runs/{run['run']}/components.parquet"
            for run in compared_runs(wildcards.study)
        ],
    output:
        svg=report(
            "results/{study}/figures/components.svg",
            caption="captions/components.rst",
            category="{study}",
            subcategory="components",
            labels={"figure": "components over training"},
        ),
        png="results/{study}/figures/components.png",
    log:
        "results/logs/plot_components/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_components.py",
            study=study_context(wildcards.study),
            runs=compared_runs(wildcards.study),
        ),
    message:
        "Drawing the components of {wildcards.study}"
    script:
        "../workflow_scripts/plot_components.py"


rule plot_experts:
    input:
        records=reporting_files("components.parquet"),
    output:
        svg=report(
            "results/{study}/figures/experts.svg",
            caption="captions/experts.rst",
            category="{study}",
            subcategory="components",
            labels={"figure": "load of the experts"},
        ),
        png="results/{study}/figures/experts.png",
    log:
        "results/logs/plot_experts/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_experts.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the load of the experts of {wildcards.study}"
    script:
        "../workflow_scripts/plot_experts.py"
