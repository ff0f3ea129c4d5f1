"""Who reads what, of the tables and figures that only some studies have: experiments on components
and settings, rankings, robustness.

Needs: PLAN and the functions of inputs.smk.
"""

from muonlab.plan.naming import flatten
from muonlab.plan.sweeps import arm_sweeps, varied_numbers, varies_settings

# Made where arms are ranked, and where chosen settings are changed.
RANKING = (
    ["ranking", "field_effects", "direction", "dose_points", "dose_response"],
    ["performance", "ranking_curves", "ranking_heatmap", "dose_response"],
)
ROBUSTNESS = (["robustness", "lr_sensitivity", "basins"], ["lr_sensitivity"])


def ranked(study):
    """The arm that all arms of a study are ranked against, or None."""
    return PLAN.studies[study].measure["ranking"]


def comparisons(study, place):
    """Names of the tables (place 0) or figures (1) of a ranking and of robustness, where the study
    asks for them."""
    of_ranking = RANKING[place] if ranked(study) else []
    return of_ranking + (ROBUSTNESS[place] if PLAN.studies[study].robustness else [])


def robustness_runs(study):
    """arm, field, factor, seed and run of each run with one chosen setting multiplied, as plain
    values for params."""
    plan, chosen = PLAN.studies[study], chosen_settings(study)
    return [
        {"arm": arm, "field": field, "factor": factor, "seed": seed, "run": run}
        for arm in (plan.robustness or {"arms": []})["arms"]
        for field, factor, seed, run in plan.robustness_runs(arm, chosen[arm])
    ]


def changed_runs(study):
    """`robustness_runs`, and before them the reporting runs that they are compared with: factor 1,
    of no field."""
    robustness = PLAN.studies[study].robustness
    unchanged = [
        {"arm": arm, "field": "", "factor": 1.0, "seed": seed, "run": run}
        for arm, seed, run in reporting_runs(study)
        if arm in robustness["arms"] and seed in PLAN.studies[study].seeds[: robustness["seeds"]]
    ]
    return unchanged + robustness_runs(study)


def arm_settings(study):
    """All settings that each arm is reported with, by dotted path."""
    chosen = chosen_settings(study)
    return {
        name: flatten(arm.settings | {"optimizer": arm.optimizer(chosen[name])})
        for name, arm in PLAN.studies[study].arms.items()
    }


def has_experts(study):
    arms = PLAN.studies[study].arms.values()
    return all(arm.settings["model"].get("experts") for arm in arms)


def experiment_tables(study):
    wanted = {
        "factorials": PLAN.studies[study].measure["factorials"],
        "one_at_a_time": varies_settings(PLAN.studies[study]),
    }
    return [table for table, has in wanted.items() if has]


def experiment_figures(study):
    components = watched(study, "components_every")
    wanted = {
        "contributions": PLAN.studies[study].measure["factorials"],
        "one_at_a_time": varies_settings(PLAN.studies[study]),
        "tuning_heatmap": any(
            len(fields) == 2 for fields in varied_numbers(PLAN.studies[study]).values()
        ),
        "components": components,
        "experts": components and has_experts(study),
    }
    return [figure for figure, has in wanted.items() if has]


def compared_runs(study):
    """`run_records` of the first two tuned arms."""
    tuned = [name for name, arm in PLAN.studies[study].arms.items() if arm.trials][:2]
    return [run for run in run_records(study) if run["arm"] in tuned]


def against_variables(study):
    """The variables in which each arm differs from the one that it is ranked against."""
    arms = PLAN.studies[study].arms
    return {name: differences(arm, arms[ranked(study)]) for name, arm in arms.items()}


def insight_tables(wildcards):
    """The tables that the insights are computed from."""
    names = ["ranking", "field_effects", "dose_response"]
    names += ["basins"] if PLAN.studies[wildcards.study].robustness else []
    return {name: tuned_table(name)(wildcards) for name in names}


def findings_tables(wildcards):
    """The tables of the experiments that the study has, by their names among its findings."""
    names = {"factorials": "factorials", "one_at_a_time": "sweeps"}
    return {
        names[table]: tuned_table(table)(wildcards) for table in experiment_tables(wildcards.study)
    }
