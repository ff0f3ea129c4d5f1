"""Error of the polar factor by arm, and whether the loss depends on it (dose and response)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.factorials import OUTCOME, final_losses
from muonlab.report.variants import ITERATION, Settings, alike, is_matched
from muonlab.statistics.dose_response import MIN_DOSES, dose_response_of, dose_table
from muonlab.statistics.intervals import mean_interval

MEAN = "mean over matrices"
# Quantities that the loss may depend on: the error of the direction alone, the error that includes
# the size of the step, and the size itself.
DOSES = ("direction_error", "polar_error", "rms_singular_value")
SIZED = ("polar_error", "rms_singular_value")  # unknown for matched steps


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
            "Whether the loss of **{title}** depends on the error of the polar factor: for each "
            "family of arms that differ in the Newton–Schulz iteration alone, the least-squares "
            "slope and Spearman's correlation of the loss over the arms' doses, means over n = {n} "
            "seeds with {interval} t intervals, and Page's test of a trend. Doses are means over "
            "seeds and matrices. Data: *{data}*, protocol: {protocol}.",
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
) -> dict[str, pd.DataFrame]:
    """Only for studies with a ranking: they have the parameter `against`."""
    losses = final_losses(runs, summaries)
    points, responses = response_tables(losses, direction_records, study, arm_settings)
    direction = direction_table(direction_records, study)
    return {"direction": direction, "dose_points": points, "dose_response": responses}


def run_means(direction: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, metric, value: each run's mean over its matrices. `direction` has the records of
    `probes.direction` with arm and seed."""
    keys = ["arm", "seed", "metric"]
    means = direction.groupby(keys, sort=False).value.agg(lambda v: np.mean(v.to_numpy()))
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


def families(settings: Settings) -> list[list[str]]:
    """Groups of three or more arms that differ in the Newton–Schulz iteration alone."""
    groups = alike(settings, ITERATION)
    return [group for group in groups if len(group) >= MIN_DOSES]


def response_tables(
    losses: pd.DataFrame, direction: pd.DataFrame, study: dict, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points of the figure (one row for each arm of a family and dose), and for each family and
    dose the slope and rank correlation of the loss over seeds.

    `losses`: arm, seed, outcome, value. A dose is the arm's mean over seeds and matrices. Arms
    whose direction could not be computed back are left out, as are families in which fewer than
    three arms remain.
    """
    means, alpha = run_means(direction), study["alpha"]
    points, responses = [], []
    for number, family in enumerate(families(settings)):
        matched = is_matched(settings[family[0]])
        facts = {"family": number, "matched_step": matched, "common": common(settings, family)}
        for dose in DOSES:
            doses = dict(_doses(means, family, dose, alpha))
            if len(doses) < MIN_DOSES or (matched and dose in SIZED):
                continue
            table = dose_table(losses, {arm: d[0] for arm, d in doses.items()}, OUTCOME, alpha)
            # With a single run its value is the point, without an interval.
            table["mean"] = [
                losses.value[losses.arm == arm].mean(skipna=False) for arm in table.arm
            ]
            for column, place in (("dose_low", 1), ("dose_high", 2)):
                table[column] = [doses[arm][place] for arm in table.arm]
            points.append(table.assign(metric=dose, **facts))
            found = dose_response_of(
                losses, {arm: d[0] for arm, d in doses.items()}, OUTCOME, alpha
            )
            responses.append({"metric": dose, **facts, **vars(found)})
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    columns = ["family", "matched_step", "common", "metric", "arm", "dose", "dose_low", "dose_high"]
    columns += ["n", "mean", "sd", "low", "high", "diverged"]
    table = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=columns)
    table = table[columns].assign(variant=table.arm.map(labels))
    columns = ["metric", "family", "matched_step", "common", "n", "doses", "slope", "slope_low"]
    columns += ["slope_high", "p_slope", "rho", "rho_low", "rho_high", "p_page", "diverged"]
    return table, pd.DataFrame(responses, columns=columns).assign(data=study["data"])


def common(settings: Settings, family: list[str]) -> str:
    """What distinguishes a family from the others: its momentum and whether it uses Nesterov."""
    fields = settings[family[0]]
    nesterov = "" if fields.get("optimizer.nesterov", True) else ", no Nesterov"
    return f"momentum {fields.get('optimizer.momentum', 0):g}{nesterov}"


def _doses(
    means: pd.DataFrame, family: list[str], dose: str, alpha: float
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """(arm, (mean, low, high) over its seeds) for each arm whose dose is known."""
    by_arm: Mapping[str, pd.DataFrame] = dict(list(means[means.metric == dose].groupby("arm")))
    for arm in family:
        if arm in by_arm and np.isfinite(by_arm[arm].value).all():
            interval = mean_interval(by_arm[arm].value.to_numpy(), alpha)
            yield arm, (float(by_arm[arm].value.mean()), interval.low, interval.high)
