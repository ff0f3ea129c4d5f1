"""Statistics: every pair of arms on every outcome, and all arms at once.

Needs: the summaries, matched losses, spectra, curvature and quantization of the reporting runs.
Gives: results/<study>/tables/contrasts.csv, anova.csv and tukey.csv.
"""


rule compare_arms:
    input:
        unpack(measured_files),
        summaries=reporting_files("summary.json"),
        matched=matched_records,
    output:
        contrasts=report(
            "results/{study}/tables/contrasts.csv",
            caption="captions/contrasts.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "contrasts between arms"},
        ),
        anova=report(
            "results/{study}/tables/anova.csv",
            caption="captions/anova.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "analysis of variance"},
        ),
        tukey=report(
            "results/{study}/tables/tukey.csv",
            caption="captions/anova.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "Tukey's comparisons"},
        ),
    log:
        "results/logs/compare_arms/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "compare_arms.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            pairs=study_pairs(wildcards.study),
            measured=measured(wildcards.study),
            outcomes=outcomes(PLAN.studies[wildcards.study].measure),
            settings=PLAN.studies[wildcards.study].measure["contrasts"],
        ),
    message:
        "Comparing the arms of {wildcards.study}"
    script:
        "../workflow_scripts/compare_arms.py"
