"""What a user can ask for by name: one stage of every study, or one study.

Needs: nothing. Gives: the targets data, tune, train (or runs), spectra, curvature, quantize,
statistics (or tables), figures, and one for each study.
"""


rule data:
    input:
        [f"{ROOT}/data/{dataset}/digest.json" for dataset in PLAN.data_used],


rule tune:
    input:
        of_each(OUTPUTS.selection),


rule train:
    input:
        of_each(OUTPUTS.selection),
        runs_of(*PLAN.studies),


rule runs:
    input:
        rules.train.input,


rule spectra:
    input:
        measured_in(*PLAN.studies, names=["spectra"]),


rule curvature:
    input:
        measured_in(*PLAN.studies, names=["curvature"]),


rule quantize:
    input:
        measured_in(*PLAN.studies, names=["quantization"]),


rule statistics:
    input:
        of_each(OUTPUTS.tables),


rule tables:
    input:
        of_each(OUTPUTS.tables),


rule figures:
    input:
        of_each(OUTPUTS.figures),


for study in PLAN.studies:

    rule:
        name:
            study
        input:
            OUTPUTS.results(study),
            runs_of(study),
            measured_in(study),


# A single word that is no rule is taken for a file: this rule would make it, and says why not.
rule unknown_target:
    input:
        unknown_target,
    output:
        "{unknown}",
    wildcard_constraints:
        unknown="[A-Za-z0-9_-]+",
