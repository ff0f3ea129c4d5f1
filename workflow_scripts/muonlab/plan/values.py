"""Plain values that tables, figures and texts can ask for by name, and which studies have them.

A value is computed from what is known about a study. It is passed in a job's param, so the job runs
again if the value changes.
"""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import yaml

from muonlab.plan.arms import differences
from muonlab.plan.known import Known
from muonlab.plan.measure import outcomes
from muonlab.plan.naming import flatten
from muonlab.plan.registry import LIBRARY
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
        "arms": [
            {
                "name": arm.name,
                "label": arm.label,
                "base": arm.base,
                "compound": arm.compound,
                "tuned": bool(arm.trials),
                "settings": known.reported_settings(arm),
                "edges": known.edges(arm),
            }
            for arm in study.arms.values()
        ],
    }


def run_records(known: Known) -> list[dict]:
    """The arm, seed and run name of each reporting run."""
    return [{"arm": run.arm, "seed": run.seed, "run": run.name} for run in known.reporting_runs]


def study_pairs(known: Known) -> list[dict]:
    """The pairs of arms that are compared, the later arm first, and the variables in which they
    differ. Fields that tuning chooses do not count as variables."""
    arms = list(known.study.arms.values())
    if known.study.measure["contrasts"]["pairs"] == "all":
        pairs = [(a, b) for b, a in combinations(arms, 2)]
    else:
        pairs = [(arm, known.study.arms[arm.base] if arm.base else arms[0]) for arm in arms]
    return [
        {"a": a.name, "b": b.name, "variables": differences(a, b)} for a, b in pairs if a is not b
    ]


def arm_settings(known: Known) -> dict[str, dict]:
    """All settings of the reporting runs of each arm, by dotted path."""
    return {
        name: flatten(arm.settings | {"optimizer": arm.optimizer(known.chosen(name))})
        for name, arm in known.study.arms.items()
    }


def against_variables(known: Known) -> dict[str, list[str]]:
    """The variables in which each arm differs from the one that it is ranked against."""
    arms = known.study.arms
    against = arms[known.study.measure["ranking"]]
    return {name: differences(arm, against) for name, arm in arms.items()}


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


@cache
def published_claims() -> list[dict]:
    """What published sources claim, as data. It is passed as a value, so that jobs run again after
    an edit."""
    return yaml.safe_load((LIBRARY / "report" / "claims.yaml").read_text(encoding="utf-8"))


VALUES: dict[str, Value] = {
    "study": Value(study_context),
    "runs": Value(run_records),
    "pairs": Value(study_pairs),
    "outcomes": Value(lambda known: outcomes(known.study.measure)),
    "comparison": Value(lambda known: known.study.measure["contrasts"]),
    "factorials": Value(
        lambda known: known.study.measure["factorials"], lambda study: study.measure["factorials"]
    ),
    "sweeps": Value(lambda known: arm_sweeps(known.study), varies_settings),
    "tuned_pairs": Value(
        lambda known: varied_numbers(known.study),
        lambda study: any(len(fields) == 2 for fields in varied_numbers(study).values()),
    ),
    "arm_settings": Value(arm_settings),
    "against": Value(
        lambda known: known.study.measure["ranking"], lambda study: study.measure["ranking"]
    ),
    "variables": Value(against_variables, lambda study: study.measure["ranking"]),
    "sources": Value(lambda known: published_claims(), lambda study: study.measure["ranking"]),
    "changed": Value(changed_runs, lambda study: study.robustness),
    "main_runs": Value(main_runs),
    "overhead_runs": Value(overhead_runs, lambda study: study.measure["overhead"]),
}
