"""Error of the polar factor by arm, and whether the loss follows it (dose and response)."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.variants import ITERATION, Settings, alike, is_matched
from muonlab.statistics.dose_response import MIN_DOSES, dose_response_of, dose_table
from muonlab.statistics.intervals import mean_interval

MEAN = "mean over matrices"
# What the loss may follow: the error of the direction alone, that with the size of the step in it,
# and the size itself.
DOSES = ("direction_error", "polar_error", "rms_singular_value")
SIZED = ("polar_error", "rms_singular_value")  # not known of steps of one size


def run_means(direction: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, metric, value: each run's mean over its matrices. `direction` has the records of
    `training.direction` with arm and seed."""
    keys = ["arm", "seed", "metric"]
    means = direction.groupby(keys, sort=False).value.agg(lambda v: np.mean(v.to_numpy()))
    return means.reset_index()


def direction_table(direction: pd.DataFrame, study: dict, alpha: float = 0.05) -> pd.DataFrame:
    """Each metric of each matrix, and of all of a run's matrices on average: mean, sd and t
    interval over the seeds of each arm."""
    keys = ["arm", "tensor", "component", "matrix", "metric"]
    whole = run_means(direction).assign(tensor=MEAN, component="all", matrix=-1)
    facts = direction.groupby("arm")[["step", "normalised"]].first()
    rows = []
    for group, own in pd.concat([direction[[*keys, "seed", "value"]], whole]).groupby(
        keys, sort=False
    ):
        interval = mean_interval(own.value.to_numpy(), alpha)
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
    runs: pd.DataFrame, direction: pd.DataFrame, study: dict, settings: Settings, alpha: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points of the figure (one row for each arm of a family and dose), and for each family and
    dose the slope and rank correlation of the loss over seeds.

    `runs`: arm, seed, final_loss. A dose is the arm's mean over seeds and matrices. Arms whose
    direction could not be read back, and families of fewer than three others, are left out.
    """
    means = run_means(direction)
    losses = runs.rename(columns={"final_loss": "value"})[["arm", "seed", "value"]]
    losses = losses.assign(value=losses.value.astype(float), outcome="final_loss")
    points, responses = [], []
    for number, family in enumerate(families(settings)):
        matched = is_matched(settings[family[0]])
        facts = {"family": number, "matched_step": matched, "common": common(settings, family)}
        for dose in DOSES:
            doses = dict(_doses(means, family, dose))
            if len(doses) < MIN_DOSES or (matched and dose in SIZED):
                continue
            table = dose_table(losses, {arm: d[0] for arm, d in doses.items()}, "final_loss", alpha)
            # The mean of a single run is a point too, if one without an interval.
            table["mean"] = [
                losses.value[losses.arm == arm].mean(skipna=False) for arm in table.arm
            ]
            for column, place in (("dose_low", 1), ("dose_high", 2)):
                table[column] = [doses[arm][place] for arm in table.arm]
            points.append(table.assign(metric=dose, **facts))
            found = dose_response_of(
                losses, {arm: d[0] for arm, d in doses.items()}, "final_loss", alpha
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
    """What sets a family apart from the others: its momentum and whether it looks ahead."""
    fields = settings[family[0]]
    nesterov = "" if fields.get("optimizer.nesterov", True) else ", no Nesterov"
    return f"momentum {fields.get('optimizer.momentum', 0):g}{nesterov}"


def _doses(
    means: pd.DataFrame, family: list[str], dose: str
) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """(arm, (mean, low, high) over its seeds) of the arms for which the dose is known."""
    by_arm: Mapping[str, pd.DataFrame] = dict(list(means[means.metric == dose].groupby("arm")))
    for arm in family:
        if arm in by_arm and np.isfinite(by_arm[arm].value).all():
            interval = mean_interval(by_arm[arm].value.to_numpy())
            yield arm, (float(by_arm[arm].value.mean()), interval.low, interval.high)
