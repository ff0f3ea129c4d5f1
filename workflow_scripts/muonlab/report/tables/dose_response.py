"""Error of the polar factor by arm, and what of the update the loss depends on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.factorials import OUTCOME, final_losses
from muonlab.report.variants import (
    ITERATION,
    ITERATIONS,
    POWER,
    SPECTRA,
    SPECTRUM,
    Settings,
    alike,
    is_matched,
)
from muonlab.statistics.dose_response import MIN_DOSES, by_dose, dose_response_of, dose_table
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.relation import ONE_ARM, judged, leave_one_out, simultaneous

MEAN = "mean over matrices"
# Quantities that the loss may depend on: the error of the direction alone, the error that includes
# the size of the step, the size itself, and the power to which the update's spectrum is raised.
DOSES = ("direction_error", "polar_error", "rms_singular_value", POWER)
SIZED = ("polar_error", "rms_singular_value")  # unknown for matched steps
FACTS = ["metric", "family", "varied", "matched_step", "common"]
POINT_COLUMNS = [*FACTS, "arm", "dose", "dose_low", "dose_high"]
POINT_COLUMNS += ["n", "mean", "sd", "low", "high", "diverged"]
RESPONSE_COLUMNS = [*FACTS, "n", "doses", "relations", "level", "slope", "slope_low", "slope_high"]
RESPONSE_COLUMNS += ["p_slope", "rho", "rho_low", "rho_high", "p_page"]
RESPONSE_COLUMNS += ["slope_without_low", "slope_without_high", "slope_moved_by"]
RESPONSE_COLUMNS += ["rho_without_low", "rho_without_high", "rho_moved_by"]
RESPONSE_COLUMNS += ["rests_on", "diverged", "verdict", "reason"]

Dose = tuple[float, float, float]  # mean, low, high


@table(
    section="tables",
    outputs={
        "direction": (
            "distance from the polar factor",
            "How far the last kept update of each run of **{title}** is from its own polar factor "
            "UVᵀ, for every matrix that Muon trains, and on average over them (*mean over "
            "matrices*): means over n = {n} seeds with {interval} t intervals. The update O is "
            "computed back from the weights before and after it, the learning rate and the decay; "
            "``recovery_error`` is the relative error that the rounding of the weights leaves in "
            "it. ``polar_error`` is ‖O − UVᵀ‖/‖UVᵀ‖, ``direction_error`` the same after O is "
            "scaled to make it smallest. Where all updates have one size (``normalised``), the "
            "original size is unknown and is taken to be the polar factor's.",
        ),
        "dose_points": None,
        "dose_response": (
            "dose and response",
            "Whether the loss of **{title}** depends on the direction or the size of the update. A "
            "relation is a family of arms that differ in the Newton–Schulz iteration alone, or in "
            "the spectrum of the update alone (with updates of one size), and one dose: the error "
            "of the update against its polar factor, its size, or the power to which the "
            "momentum's singular values are raised. ``slope`` is the least-squares slope and "
            "``rho`` Spearman's correlation of the loss over the arms' doses, means over n = {n} "
            "seeds; ``p_page`` is Page's test of a trend. There is one correction, over all the "
            "rows of this table: each interval has the ``level`` that makes all of them hold "
            "together at {interval}, and each p is multiplied by the number of ``relations``. "
            "``…_without_low`` and ``…_without_high`` are the least and the greatest value with "
            "one arm left out, ``…_moved_by`` the arm without which it changes most. A relation "
            "*holds* if its interval excludes 0 and leaving out no arm turns its sign; otherwise "
            "it *rests on one arm* (``rests_on``) or is *undecided*. It is *flat* if over all "
            "doses the loss changes by less than the declared smallest difference. Fewer than four "
            "seeds give no verdict. Doses are means over seeds and matrices. Data: *{data}*, "
            "protocol: {protocol}.",
        ),
    },
)
def dose_response(
    direction_records: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    arm_settings: Settings,
    against: str,
    comparison: Mapping,
) -> dict[str, pd.DataFrame]:
    """Only for studies with a ranking: they have the parameter `against`."""
    losses = final_losses(runs, summaries)
    smallest = comparison["smallest_difference"].get(OUTCOME)
    points, responses = response_tables(losses, direction_records, study, arm_settings, smallest)
    direction = direction_table(direction_records, study)
    return {"direction": direction, "dose_points": points, "dose_response": responses}


def run_means(direction: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, metric, value: each run's mean over its matrices. `direction` has the records of
    `probes.direction` with arm and seed."""
    keys = ["arm", "seed", "metric"]
    means = direction.groupby(keys, sort=False).value.mean(skipna=False)
    return means.reset_index()


def direction_table(direction: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Each metric for each matrix and averaged over all matrices of a run: mean, sd and t interval
    over the seeds of each arm."""
    keys = ["arm", "tensor", "component", "matrix", "metric"]
    whole = run_means(direction).assign(tensor=MEAN, component="all", matrix=-1)
    facts = direction.groupby("arm")[["step", "normalised"]].first()
    rows = []
    for group, own in pd.concat([direction[[*keys, "seed", "value"]], whole]).groupby(
        keys, sort=False
    ):
        interval = mean_interval(own.value.to_numpy(), study["alpha"])
        row = dict(zip(keys, group, strict=True))
        row |= {"step": facts.step[group[0]], "normalised": facts.normalised[group[0]]}
        row |= {"n": interval.n, "mean": float(np.mean(own.value)), "sd": interval.sd}
        rows.append(row | {"low": interval.low, "high": interval.high})
    columns = [*keys, "step", "normalised", "n", "mean", "sd", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(data=study["data"])


def families(settings: Settings) -> list[tuple[str, list[str]]]:
    """What a group of three or more arms varies, and the group: the Newton–Schulz iteration alone,
    or the spectrum of the update alone, the latter with updates of one size."""
    found = [(ITERATIONS, group) for group in alike(settings, ITERATION)]
    found += [
        (SPECTRA, group) for group in alike(settings, (SPECTRUM,)) if is_matched(settings[group[0]])
    ]
    return [(varied, group) for varied, group in found if len(group) >= MIN_DOSES]


def response_tables(
    losses: pd.DataFrame,
    direction: pd.DataFrame,
    study: dict,
    settings: Settings,
    smallest: float | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points of the figure (one row for each arm of a family and dose), and for each family and
    dose the slope and rank correlation of the loss over seeds, with a verdict.

    `losses`: arm, seed, outcome, value; `smallest` is the smallest difference of interest in it. A
    dose is the arm's mean over seeds and matrices, or the power of its spectrum. Arms whose dose is
    not known are left out, as are families in which fewer than three arms remain.
    """
    alpha = study["alpha"]
    relations = list(_relations(run_means(direction), settings, alpha))
    points = [_points(losses, facts, doses, alpha) for facts, doses in relations]
    rows = [
        facts | _response(losses, doses, alpha, len(relations), smallest)
        for facts, doses in relations
    ]
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    table = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=POINT_COLUMNS)
    table = table[POINT_COLUMNS].assign(variant=table.arm.map(labels))
    return table, pd.DataFrame(rows, columns=RESPONSE_COLUMNS).assign(data=study["data"])


def _relations(
    means: pd.DataFrame, settings: Settings, alpha: float
) -> Iterator[tuple[dict, dict[str, Dose]]]:
    """(facts, dose of each arm) for every relation that is shown. All of them, and no others, share
    one correction."""
    for number, (varied, family) in enumerate(families(settings)):
        matched = is_matched(settings[family[0]])
        facts = {"family": number, "varied": varied, "matched_step": matched}
        facts["common"] = common(settings, family)
        for metric in DOSES:
            if (metric in SIZED and matched) or (metric == POWER and varied != SPECTRA):
                continue
            given = _powers(settings, family) if metric == POWER else None
            doses = given or dict(_doses(means, family, metric, alpha))
            if len(doses) >= MIN_DOSES:
                yield facts | {"metric": metric}, doses


def _points(
    losses: pd.DataFrame, facts: dict, doses: Mapping[str, Dose], alpha: float
) -> pd.DataFrame:
    table = dose_table(losses, {arm: d[0] for arm, d in doses.items()}, OUTCOME, alpha)
    # With a single run its value is the point, without an interval.
    table["mean"] = [losses.value[losses.arm == arm].mean(skipna=False) for arm in table.arm]
    for column, place in (("dose_low", 1), ("dose_high", 2)):
        table[column] = [doses[arm][place] for arm in table.arm]
    return table.assign(**facts)


def _response(
    losses: pd.DataFrame,
    doses: Mapping[str, Dose],
    alpha: float,
    relations: int,
    smallest: float | None,
) -> dict:
    """One relation: its numbers at the simultaneous level, each arm left out, and the verdict."""
    at = {arm: dose[0] for arm, dose in doses.items()}
    level = simultaneous(alpha, relations)
    response = dose_response_of(losses, at, OUTCOME, level)
    arms, outcomes = by_dose(losses, at, OUTCOME)
    slope, rho = leave_one_out([at[arm] for arm in arms], outcomes)
    span = max(at.values()) - min(at.values())
    verdict, reason = judged(response, slope, rho, smallest, span)
    row = vars(response) | {"relations": relations, "level": 1 - level}
    for name in ("p_slope", "p_page"):
        row[name] = float(np.minimum(row[name] * relations, 1.0))
    for name, left in (("slope", slope), ("rho", rho)):
        row |= {f"{name}_without_low": left.low, f"{name}_without_high": left.high}
        row[f"{name}_moved_by"] = "" if left.moved_by is None else arms[left.moved_by]
    turned = sorted({*slope.turned_by, *rho.turned_by})
    rests = [arms[place] for place in turned] if verdict == ONE_ARM else []
    return row | {"rests_on": ", ".join(rests), "verdict": verdict, "reason": reason}


def common(settings: Settings, family: list[str]) -> str:
    """What distinguishes a family from the others: its momentum and whether it uses Nesterov."""
    fields = settings[family[0]]
    nesterov = "" if fields.get("optimizer.nesterov", True) else ", no Nesterov"
    return f"momentum {fields.get('optimizer.momentum', 0):g}{nesterov}"


def _powers(settings: Settings, family: list[str]) -> dict[str, Dose]:
    """The power of each arm's spectrum, which has no error; arms of other spectra are left out."""
    powers = {arm: settings[arm].get(SPECTRUM) for arm in family}
    return {
        arm: (float(power), float(power), float(power))
        for arm, power in powers.items()
        if isinstance(power, int | float)
    }


def _doses(
    means: pd.DataFrame, family: list[str], dose: str, alpha: float
) -> Iterator[tuple[str, Dose]]:
    """(arm, (mean, low, high) over its seeds) for each arm whose dose is known."""
    by_arm: Mapping[str, pd.DataFrame] = dict(list(means[means.metric == dose].groupby("arm")))
    for arm in family:
        if arm in by_arm and np.isfinite(by_arm[arm].value).all():
            interval = mean_interval(by_arm[arm].value.to_numpy(), alpha)
            yield arm, (float(by_arm[arm].value.mean()), interval.low, interval.high)
