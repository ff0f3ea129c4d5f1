"""The targets that can be named on the command line: one stage of every study, or one study.

Needs: nothing. Gives: the targets data, tune, train (or runs), spectra, curvature, quantize,
statistics (or tables), figures, plan, and one target for each study.
"""


rule data:
    input:
        [f"{ROOT}/data/{dataset}/digest.json" for dataset in PLAN.data_used],
    message:
        "The data sets are prepared."


rule tune:
    input:
        of_each(OUTPUTS.selection),
    message:
        "The settings of every arm are chosen."


rule train:
    input:
        of_each(OUTPUTS.selection),
        runs_of(*PLAN.studies),
    message:
        "Every run is trained."


rule runs:
    input:
        rules.train.input,
    message:
        "Every run is trained."


rule spectra:
    input:
        of_each(settled),
        measured_in(*PLAN.studies, names=["spectra"]),
    message:
        "The spectra are measured."


rule curvature:
    input:
        of_each(settled),
        measured_in(*PLAN.studies, names=["curvature"]),
    message:
        "The curvature is measured."


rule quantize:
    input:
        of_each(settled),
        measured_in(*PLAN.studies, names=["quantization"]),
    message:
        "The quantized models are measured."


rule statistics:
    input:
        of_each(OUTPUTS.tables),
    message:
        "The tables are written."


rule tables:
    input:
        of_each(OUTPUTS.tables),
    message:
        "The tables are written."


rule figures:
    input:
        of_each(OUTPUTS.figures),
    message:
        "The figures are drawn."


rule thesis:
    input:
        ACROSS.thesis,
    message:
        f"The thesis is {ROOT}/thesis.pdf; its tables as LaTeX are in {ROOT}/latex/."


rule claims:
    input:
        [file for file in ACROSS.files() if Path(file).stem.startswith("claims")],
    message:
        f"The claims are in {ROOT}/claims.md."


rule plan:
    input:
        print_plan,
    message:
        "What the configuration will cost."


for study in PLAN.studies:

    rule:
        name:
            study
        input:
            OUTPUTS.results(study),
            runs_of(study),
            measured_in(study),
        message:
            f"The study {study} is finished."


# Snakemake takes a single word that names no rule for a file. This rule matches such a file, so
# that a misspelled target ends with a clear error message.
rule unknown_target:
    input:
        unknown_target,
    output:
        "{unknown}",
    wildcard_constraints:
        unknown="[A-Za-z0-9_-]+",
