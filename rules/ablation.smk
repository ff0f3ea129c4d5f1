"""Ablation: all arms ranked against one, what the loss follows, and what changed settings cost.

Needs: the reporting runs with their last updates, the runs with changed settings, and tuning's
selection. Gives: results/<study>/direction/<arm>.parquet, the distance of each run's last
update from its polar factor; the tables ranking, field_effects, direction, dose_points and
dose_response with their figures and insights.md, where `measure.ranking` names an arm; the tables
robustness, lr_sensitivity and basins with a figure, where the study has `robustness`; and of every
study best_of_k, what a smaller tuning budget would have found.
"""


rule measure_direction:
    input:
        # One job for all seeds of an arm: starting a job takes longer than its matrices do.
        summaries=arm_files("summary.json"),
        configs=arm_files("config.json"),
        routings=arm_files("routing.csv"),
        tensors=lambda wildcards: ancient(arm_files("updates")(wildcards)),
        digest=lambda wildcards: f"{study_data(wildcards)}/digest.json",
    output:
        direction="results/{study}/direction/{arm}.parquet",
    log:
        "results/logs/measure_direction/{study}/{arm}.log",
    # Before more training: every job that waits costs the scheduler time.
    priority: 10
    conda:
        "../envs/measure.yaml"
    params:
        job=lambda wildcards: measuring_job(
            "measure_direction.py",
            wildcards.study,
            seeds=PLAN.studies[wildcards.study].seeds,
        ),
    message:
        "Measuring the direction of {wildcards.study} {wildcards.arm}"
    script:
        "../workflow_scripts/measure_direction.py"


rule tabulate_ranking:
    input:
        summaries=reporting_files("summary.json"),
        provenances=reporting_files("provenance.json"),
    output:
        ranking=report(
            "results/{study}/tables/ranking.csv",
            caption="captions/ranking.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "ranking of all arms"},
        ),
        field_effects=report(
            "results/{study}/tables/field_effects.csv",
            caption="captions/field_effects.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "single settings"},
        ),
    log:
        "results/logs/tabulate_ranking/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_ranking.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            settings=arm_settings(wildcards.study),
            against=ranked(wildcards.study),
            variables=against_variables(wildcards.study),
            plan=PLAN.studies[wildcards.study].measure["contrasts"],
        ),
    message:
        "Ranking the arms of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_ranking.py"


rule tabulate_dose_response:
    input:
        summaries=reporting_files("summary.json"),
        records=lambda wildcards: [
            f"results/{wildcards.study}/direction/{arm}.parquet"
            for arm in PLAN.studies[wildcards.study].arms
        ],
    output:
        direction=report(
            "results/{study}/tables/direction.csv",
            caption="captions/direction.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "distance from the polar factor"},
        ),
        dose_points="results/{study}/tables/dose_points.csv",
        dose_response=report(
            "results/{study}/tables/dose_response.csv",
            caption="captions/dose_response_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "dose and response"},
        ),
    log:
        "results/logs/tabulate_dose_response/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_dose_response.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
            arms=list(PLAN.studies[wildcards.study].arms),
            settings=arm_settings(wildcards.study),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating the directions of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_dose_response.py"


rule tabulate_robustness:
    input:
        summaries=lambda wildcards: [
            f"results/runs/{row['run']}/summary.json" for row in changed_runs(wildcards.study)
        ],
    output:
        robustness=report(
            "results/{study}/tables/robustness.csv",
            caption="captions/robustness.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "changed settings"},
        ),
        lr_sensitivity=report(
            "results/{study}/tables/lr_sensitivity.csv",
            caption="captions/lr_sensitivity_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "loss about the chosen rate"},
        ),
        basins=report(
            "results/{study}/tables/basins.csv",
            caption="captions/basins.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "width of the basin"},
        ),
    log:
        "results/logs/tabulate_robustness/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_robustness.py",
            study=study_context(wildcards.study),
            changed=changed_runs(wildcards.study),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating the robustness of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_robustness.py"


rule tabulate_best_of_k:
    input:
        selection=selection_file,
    output:
        best_of_k=report(
            "results/{study}/tables/best_of_k.csv",
            caption="captions/best_of_k_table.rst",
            category="{study}",
            subcategory="tables",
            labels={"table": "tuning budget"},
        ),
    log:
        "results/logs/tabulate_best_of_k/{study}.log",
    conda:
        "../envs/statistics.yaml"
    params:
        job=lambda wildcards: job(
            "tabulate_best_of_k.py",
            study=study_context(wildcards.study),
            alpha=PLAN.studies[wildcards.study].measure["contrasts"]["alpha"],
        ),
    message:
        "Tabulating the tuning budget of {wildcards.study}"
    script:
        "../workflow_scripts/tabulate_best_of_k.py"


rule plot_performance:
    input:
        ranking=tuned_table("ranking"),
    output:
        svg=report(
            "results/{study}/figures/performance.svg",
            caption="captions/performance.rst",
            category="{study}",
            subcategory="ranking",
            labels={"figure": "all arms by loss"},
        ),
        png="results/{study}/figures/performance.png",
    log:
        "results/logs/plot_performance/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_performance.py",
            study=study_context(wildcards.study),
        ),
    message:
        "Drawing the performance of {wildcards.study}"
    script:
        "../workflow_scripts/plot_performance.py"


rule plot_ranking_curves:
    input:
        metrics=reporting_files("metrics.parquet"),
        ranking=tuned_table("ranking"),
    output:
        svg=report(
            "results/{study}/figures/ranking_curves.svg",
            caption="captions/ranking_curves.rst",
            category="{study}",
            subcategory="ranking",
            labels={"figure": "training curves of all arms"},
        ),
        png="results/{study}/figures/ranking_curves.png",
    log:
        "results/logs/plot_ranking_curves/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_ranking_curves.py",
            study=study_context(wildcards.study),
            runs=run_records(wildcards.study),
        ),
    message:
        "Drawing all training curves of {wildcards.study}"
    script:
        "../workflow_scripts/plot_ranking_curves.py"


rule plot_ranking_heatmap:
    input:
        ranking=tuned_table("ranking"),
    output:
        svg=report(
            "results/{study}/figures/ranking_heatmap.svg",
            caption="captions/ranking_heatmap.rst",
            category="{study}",
            subcategory="ranking",
            labels={"figure": "loss over two settings"},
        ),
        png="results/{study}/figures/ranking_heatmap.png",
    log:
        "results/logs/plot_ranking_heatmap/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_ranking_heatmap.py",
            study=study_context(wildcards.study),
            settings=arm_settings(wildcards.study),
        ),
    message:
        "Drawing the maps of settings of {wildcards.study}"
    script:
        "../workflow_scripts/plot_ranking_heatmap.py"


rule plot_dose_response:
    input:
        points=tuned_table("dose_points"),
        responses=tuned_table("dose_response"),
    output:
        svg=report(
            "results/{study}/figures/dose_response.svg",
            caption="captions/dose_response.rst",
            category="{study}",
            subcategory="ranking",
            labels={"figure": "dose and response"},
        ),
        png="results/{study}/figures/dose_response.png",
    log:
        "results/logs/plot_dose_response/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_dose_response.py",
            study=study_context(wildcards.study),
        ),
    message:
        "Drawing the dose response of {wildcards.study}"
    script:
        "../workflow_scripts/plot_dose_response.py"


rule plot_lr_sensitivity:
    input:
        curves=tuned_table("lr_sensitivity"),
        basins=tuned_table("basins"),
    output:
        svg=report(
            "results/{study}/figures/lr_sensitivity.svg",
            caption="captions/lr_sensitivity.rst",
            category="{study}",
            subcategory="tuning",
            labels={"figure": "sensitivity to the learning rate"},
        ),
        png="results/{study}/figures/lr_sensitivity.png",
    log:
        "results/logs/plot_lr_sensitivity/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_lr_sensitivity.py",
            study=study_context(wildcards.study),
        ),
    message:
        "Drawing the sensitivity of {wildcards.study}"
    script:
        "../workflow_scripts/plot_lr_sensitivity.py"


rule plot_best_of_k:
    input:
        table=tuned_table("best_of_k"),
    output:
        svg=report(
            "results/{study}/figures/best_of_k.svg",
            caption="captions/best_of_k.rst",
            category="{study}",
            subcategory="tuning",
            labels={"figure": "tuning budget"},
        ),
        png="results/{study}/figures/best_of_k.png",
    log:
        "results/logs/plot_best_of_k/{study}.log",
    conda:
        "../envs/figures.yaml"
    params:
        job=lambda wildcards: job(
            "plot_best_of_k.py",
            study=study_context(wildcards.study),
        ),
    message:
        "Drawing the tuning budget of {wildcards.study}"
    script:
        "../workflow_scripts/plot_best_of_k.py"


rule write_insights:
    input:
        unpack(insight_tables),
    output:
        insights=report(
            "results/{study}/insights.md",
            caption="captions/insights.rst",
            category="{study}",
            subcategory="findings",
            labels={"text": "key insights"},
        ),
    log:
        "results/logs/write_insights/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=job("write_insights.py"),
    message:
        "Writing the insights of {wildcards.study}"
    script:
        "../workflow_scripts/write_insights.py"
