"""Figures of each study, as SVG and PNG.

Needs: the reporting runs, tuning's selection, what was measured, and the contrasts between arms.
Gives: results/<study>/figures/*.
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
        selection=selection_file,
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


rule plot_geometry:
    input:
        records=reporting_files("geometry.parquet"),
    output:
        svg=report(
            "results/{study}/figures/geometry.svg",
            caption="captions/geometry.rst",
            category="{study}",
            subcategory="geometry",
            labels={"figure": "geometry over training"},
        ),
        png="results/{study}/figures/geometry.png",
    log:
        "results/logs/plot_geometry/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_geometry.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the geometry of {wildcards.study}"
    script:
        "../workflow_scripts/plot_geometry.py"


rule plot_spectra:
    input:
        records=study_files("spectra", "parquet"),
    output:
        svg=report(
            "results/{study}/figures/spectra.svg",
            caption="captions/spectra.rst",
            category="{study}",
            subcategory="geometry",
            labels={"figure": "singular values"},
        ),
        png="results/{study}/figures/spectra.png",
    log:
        "results/logs/plot_spectra/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_spectra.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the spectra of {wildcards.study}"
    script:
        "../workflow_scripts/plot_spectra.py"


rule plot_sharpness:
    input:
        records=study_files("curvature", "parquet"),
    output:
        svg=report(
            "results/{study}/figures/sharpness.svg",
            caption="captions/sharpness.rst",
            category="{study}",
            subcategory="curvature",
            labels={"figure": "sharpness over training"},
        ),
        png="results/{study}/figures/sharpness.png",
    log:
        "results/logs/plot_sharpness/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_sharpness.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the sharpness of {wildcards.study}"
    script:
        "../workflow_scripts/plot_sharpness.py"


rule plot_quantization:
    input:
        records=study_files("quantized", "parquet"),
    output:
        svg=report(
            "results/{study}/figures/quantization.svg",
            caption="captions/quantization.rst",
            category="{study}",
            subcategory="quantization",
            labels={"figure": "accuracy over bits"},
        ),
        png="results/{study}/figures/quantization.png",
    log:
        "results/logs/plot_quantization/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_quantization.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the accuracy over bits of {wildcards.study}"
    script:
        "../workflow_scripts/plot_quantization.py"


rule plot_quantization_error:
    input:
        records=study_files("quantized", "parquet"),
    output:
        svg=report(
            "results/{study}/figures/quantization_error.svg",
            caption="captions/quantization_error.rst",
            category="{study}",
            subcategory="quantization",
            labels={"figure": "quantization error by layer"},
        ),
        png="results/{study}/figures/quantization_error.png",
    log:
        "results/logs/plot_quantization_error/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_quantization_error.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing the quantization error of {wildcards.study}"
    script:
        "../workflow_scripts/plot_quantization_error.py"


rule plot_effects:
    input:
        contrasts=tuned_table("contrasts"),
    output:
        svg=report(
            "results/{study}/figures/effects.svg",
            caption="captions/effects.rst",
            category="{study}",
            subcategory="statistics",
            labels={"figure": "effect sizes"},
        ),
        png="results/{study}/figures/effects.png",
    log:
        "results/logs/plot_effects/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_effects.py",
            study=study_context(wildcards.study),
            outcomes=outcomes(PLAN.studies[wildcards.study].measure),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Drawing the effect sizes of {wildcards.study}"
    script:
        "../workflow_scripts/plot_effects.py"
