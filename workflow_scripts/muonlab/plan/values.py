"""Plain values that tables, figures and texts can ask for by name, and which studies have them.

A value is computed from what is known about a study. It is passed in a job's param, so the job runs
again if the value changes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import yaml

from muonlab.plan.arms import differences, measured_on
from muonlab.plan.components import component_families
from muonlab.plan.known import Known
from muonlab.plan.measure import outcomes
from muonlab.plan.naming import flatten
from muonlab.plan.pairs import arm_order, oriented, study_families, study_pairs
from muonlab.plan.published import published_numbers
from muonlab.plan.registry import LIBRARY
from muonlab.plan.reported import iteration_bands
from muonlab.plan.runs import StudyPlan
from muonlab.plan.sweeps import arm_sweeps, varied_numbers, varies_settings


class Value(NamedTuple):
    """`of` computes a value, `has` says which studies have it. `of` is called only for these
    studies, and only after their tuning."""

    of: Callable[[Known], Any]
    has: Callable[[StudyPlan], Any] = lambda study: True


def percent(alpha: float) -> str:
    """The level of the intervals in the form in which it is printed: "95 %"."""
    return f"{100 * (1 - alpha):g} %"


def study_context(known: Known) -> dict:
    """Facts about a study that tables, figures and captions use."""
    study = known.study
    alpha = study.measure["contrasts"]["alpha"]
    first = measured_on(next(iter(study.arms.values())))
    return {
        "title": study.title,
        "data": study.data,
        "protocol": study.protocol,
        "seeds": study.seeds,
        "training": next(iter(study.arms.values())).settings["training"],
        "levels": study.measure["levels"],
        "kind": study.kind,
        "alpha": alpha,
        "interval": percent(alpha),
        "order": arm_order(study),
        "arms": [
            {
                "name": arm.name,
                "label": arm.label,
                "base": arm.base,
                "compound": arm.compound,
                "tuned": bool(arm.trials),
                "alone": arm.alone,
                "settings": known.reported_settings(arm),
                "edges": known.edges(arm),
                # Losses on other data are other quantities.
                "data": arm.settings["data"],
                "measured_on": list(measured_on(arm)),
                "apart": measured_on(arm) != first,
            }
            for arm in study.arms.values()
        ],
    }


def run_records(known: Known) -> list[dict]:
    """The arm, seed and run name of each reporting run."""
    return [{"arm": run.arm, "seed": run.seed, "run": run.name} for run in known.reporting_runs]


def comparison(known: Known) -> dict:
    """How arms are compared: the section `contrasts` of the config, with the families resolved."""
    section = known.study.measure["contrasts"]
    return section | {"families": study_families(known.study)}


def arm_settings(known: Known) -> dict[str, dict]:
    """All settings of the reporting runs of each arm, by dotted path."""
    return {
        name: flatten(
            arm.settings
            | {"optimizer": arm.optimizer(known.chosen(name))}
            | {"training": arm.training(known.chosen(name))}
        )
        for name, arm in known.study.arms.items()
    }


def against_variables(known: Known) -> dict[str, list[str]]:
    """The variables in which each ranked arm differs from the one that it is ranked against."""
    arms, measure = known.study.arms, known.study.measure
    against = arms[measure["ranking"]]
    return {
        name: differences(arm, against)
        for name, arm in arms.items()
        if name not in measure["unranked"]
    }


def changed_runs(known: Known) -> list[dict]:
    """The arm, field, factor, seed and run name of each robustness run.

    The reporting runs that they are compared with come first, with factor 1 and an empty field.
    """
    robustness = known.study.robustness
    seeds = known.study.seeds[: robustness["seeds"]]
    rows = [
        ("", 1.0, run)
        for run in known.reporting_runs
        if run.arm in robustness["arms"] and run.seed in seeds
    ] + known.robustness_runs
    return [
        {"arm": run.arm, "field": field, "factor": factor, "seed": run.seed, "run": run.name}
        for field, factor, run in rows
    ]


def grid_runs(known: Known) -> list[dict]:
    """The arm, settings, seed and run name of each run over the grid of `sensitivity`, and the
    values that its arm has of the grid's fields (`chosen`), whether tuning chose them or not."""
    asked = known.study.sensitivity
    optimizer = known.study.arms[asked["arm"]].optimizer(known.chosen(asked["arm"]))
    chosen = {field: optimizer[field] for field in asked["grid"]}
    return [
        {"arm": run.arm, "settings": run.settings, "seed": run.seed, "run": run.name}
        | {"chosen": chosen}
        for run in known.sensitivity_runs
    ]


def factor_runs(known: Known) -> list[dict]:
    """The factor, level, arm, factor on the rate, seed and run name of each run at a level of a
    factor."""
    return [
        {"factor": cell.factor, "level": cell.level, "arm": cell.arm.name}
        | {"lr_factor": cell.lr_factor, "seed": run.seed, "run": run.name}
        for cell, run in known.factor_runs
    ]


def factors(known: Known) -> dict[str, dict]:
    """The factors as configured. Each level also has its data and whether it is the study as it
    stands (`own`), and each factor its `arms` in the order of their difference."""
    study, found = known.study, {}
    for name, factor in study.factors.items():
        levels = {}
        for level, asked in factor["levels"].items():
            cell = next(c for c in study.cells if (c.factor, c.level) == (name, level))
            facts = {"data": cell.arm.settings["data"], "own": not cell.changed}
            levels[level] = {"dose": asked["dose"], "label": asked["label"] or level} | facts
        arms = list(oriented(arm_order(study), *factor["arms"]))
        told = {"label": factor["label"] or name, "arms": arms, "levels": levels}
        found[name] = told | {"dose": factor["dose"], "lr_factors": factor["lr_factors"]}
    return found


def main_runs(known: Known) -> list[dict]:
    """`run_records` of the first two tuned arms."""
    main = list(known.study.tuned_arms)[:2]
    return [run for run in run_records(known) if run["arm"] in main]


def overhead_runs(known: Known) -> list[dict]:
    """`run_records` of the arm whose overhead is measured, then of the arm that it is compared
    with."""
    records = run_records(known)
    arms = known.study.measure["overhead"]["arms"]
    return [record for arm in arms for record in records if record["arm"] == arm]


def anchor_arms(known: Known) -> dict[str, Any]:
    """The arms that the anchor checks compare, the optimizer of each arm, and for each arm of Muon
    the band in which its update's singular values must lie."""
    arms, anchors = known.study.arms, known.study.measure["anchors"]
    without = anchors["without_momentum"]
    return {
        "frozen": anchors["frozen"],
        "without_momentum": without,
        "with_momentum": arms[without].base if without else None,
        "optimizers": {name: arm.settings["optimizer"]["name"] for name, arm in arms.items()},
        "iterations": iteration_bands(arms),
    }


def compared_with(known: Known) -> str:
    """The arm with which the stability and the convergence of the others are compared."""
    arms = known.study.arms
    adamw = [name for name, arm in arms.items() if arm.settings["optimizer"]["name"] == "adamw"]
    return known.study.measure["baseline"] or next(iter([*adamw, *arms]))


@cache
def setting_claims() -> list[dict]:
    """What published sources claim, as data. It is passed as a value, so that jobs run again after
    an edit."""
    return yaml.safe_load((LIBRARY / "report" / "setting_claims.yaml").read_text(encoding="utf-8"))


VALUES: dict[str, Value] = {
    "study": Value(study_context),
    "runs": Value(run_records),
    "pairs": Value(lambda known: study_pairs(known.study)),
    "outcomes": Value(lambda known: outcomes(known.study.measure)),
    "comparison": Value(comparison),
    "factorials": Value(
        lambda known: known.study.measure["factorials"], lambda study: study.measure["factorials"]
    ),
    "sweeps": Value(lambda known: arm_sweeps(known.study), varies_settings),
    "tuned_pairs": Value(
        lambda known: varied_numbers(known.study),
        lambda study: any(len(fields) == 2 for fields in varied_numbers(study).values()),
    ),
    # The search spaces, of studies that search a box and of those that search a grid.
    "search_box": Value(lambda known: known.spaces, lambda study: study.tuning["method"] != "grid"),
    "search_grid": Value(
        lambda known: known.spaces, lambda study: study.tuning["method"] == "grid"
    ),
    "first_trials": Value(
        lambda known: {name: len(arm.trials) for name, arm in known.study.tuned_arms.items()}
    ),
    "arm_settings": Value(arm_settings),
    "against": Value(
        lambda known: known.study.measure["ranking"], lambda study: study.measure["ranking"]
    ),
    "variables": Value(against_variables, lambda study: study.measure["ranking"]),
    "sources": Value(lambda known: setting_claims(), lambda study: study.measure["ranking"]),
    "grid_runs": Value(grid_runs, lambda study: study.sensitivity),
    "published": Value(lambda known: published_numbers(known.study), published_numbers),
    "changed": Value(changed_runs, lambda study: study.robustness),
    "benchmarks": Value(
        lambda known: known.study.measure["multiple_choice"],
        lambda study: study.measure["multiple_choice"],
    ),
    "sampling": Value(
        lambda known: known.study.measure["samples"], lambda study: study.measure["samples"]
    ),
    "component_families": Value(lambda known: component_families(known.study), component_families),
    "factor_runs": Value(factor_runs, lambda study: study.factors),
    "factors": Value(factors, lambda study: study.factors),
    "main_runs": Value(main_runs),
    "anchors": Value(anchor_arms),
    "speed_up": Value(
        lambda known: known.study.measure["speed_up"], lambda study: study.measure["speed_up"]
    ),
    "waterfall": Value(
        lambda known: known.study.measure["waterfall"], lambda study: study.measure["waterfall"]
    ),
    "baseline": Value(compared_with),
    "overhead_runs": Value(overhead_runs, lambda study: study.measure["overhead"]),
}
