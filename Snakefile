"""Muon against AdamW under one fair protocol: from data to learning curves.

snakemake --cores all                                       the embedded default
snakemake --cores all --configfile studies/fashion.yaml     FashionMNIST at published size
snakemake --cores all tune | runs | tables | figures        one stage of every study
snakemake --cores all fashion                               one study, to its end
"""

from snakemake.utils import min_version

min_version("9.21.1")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/experiment_inputs.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/tune.smk"
include: "rules/spectra.smk"
include: "rules/curvature.smk"
include: "rules/quantize.smk"
include: "rules/overhead.smk"
include: "rules/statistics.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/experiments.smk"
include: "rules/ablation.smk"
include: "rules/findings.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        [study_results(study) for study in PLAN.studies],
        run_summaries(PLAN.studies),
        measurements(PLAN.studies),


rule tune:
    input:
        expand("results/{study}/tuning/selection.json", study=PLAN.studies),


rule runs:
    input:
        expand("results/{study}/tuning/selection.json", study=PLAN.studies),
        run_summaries(PLAN.studies),


rule tables:
    input:
        [study_tables(study) for study in PLAN.studies],


rule figures:
    input:
        [study_figures(study) for study in PLAN.studies],


for study in PLAN.studies:

    rule:
        name:
            study
        input:
            study_results(study),
            run_summaries([study]),
            measurements([study]),


onsuccess:
    write_report()
