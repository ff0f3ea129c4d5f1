"""The loss over one setting at a time, all others at their chosen values."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.report.sweeps import TUNING, grid_trials, sweep_points
from muonlab.statistics.hypothesis_tests import holm, paired_t
from muonlab.statistics.intervals import mean_interval


@table(
    section="tables",
    outputs={
        "one_at_a_time": (
            "one setting at a time",
            "Loss on *{data}* over one setting at a time, all others at their chosen values. "
            "Numbers of a grid of tuning are varied over the tuning seeds; numbers of the grid of "
            "``sensitivity`` and numbers that other arms change are compared over the reporting "
            "seeds. {interval} intervals are given for the mean and for the paired difference from "
            "the reference (the chosen value, or the base's). ``p_holm`` is corrected over the "
            "values of one sweep. On tuning seeds the chosen value looks better than it is, "
            "because these seeds also chose it. Protocol: {protocol}.",
        ),
    },
)
def one_at_a_time(
    selection: dict,
    sweeps: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    grid_runs: Sequence[dict] | None = None,
    grid_summaries: Sequence[dict] | None = None,
) -> pd.DataFrame:
    grid = grid_trials(grid_runs or [], grid_summaries or [])
    points = sweep_points(selection, sweeps, runs, summaries, study, grid)
    return one_at_a_time_table(points, study)


def one_at_a_time_table(points: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Mean loss and interval of each value of each sweep, and the paired difference from the
    reference, over the seeds of `sweep_points`. `p_holm` is corrected over the values of one sweep.
    Where the reference was chosen on the same seeds, its advantage is overestimated."""
    settings = {arm["name"]: arm["settings"] for arm in study["arms"]}
    edges = {arm["name"]: arm["edges"] for arm in study["arms"]}
    tables = []
    for (arm, field, seeds), own in points.groupby(["arm", "field", "seeds"], sort=False):
        table = _compared(
            own.pivot(index="seed", columns="value", values="loss"), own, study["alpha"]
        )
        others = {f: v for f, v in settings[arm].items() if f != field}
        table.insert(0, "arm", arm)
        table.insert(1, "field", field)
        table["beside"] = listed(others)
        table["seeds"] = seeds
        table["edge"] = edges[arm].get(field, "") if seeds == TUNING else ""
        tables.append(table.assign(data=study["data"], protocol=study["protocol"]))
    return pd.concat(tables, ignore_index=True)


def _compared(by_value: pd.DataFrame, own: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """One row for each value, a column of `by_value`, whose rows are seeds."""
    base = own.value[own.reference].iloc[0]
    reference = by_value[base].to_numpy()
    rows = []
    for value, losses in by_value.items():
        mean = mean_interval(losses.to_numpy(), alpha)
        row = {"value": value, "reference": value == base, "n": mean.n, "diverged": mean.diverged}
        row["mean"] = losses.mean(skipna=False)
        row |= {"low": mean.low, "high": mean.high}
        test = paired_t(losses.to_numpy(), reference, alpha)
        found = {"difference": losses.mean(skipna=False) - reference.mean(), "p": test.p}
        row |= found | {"difference_low": test.low, "difference_high": test.high}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.loc[~table.reference, "p_holm"] = holm(table.p[~table.reference])
    table["verdict"] = [_verdict(row, alpha) for row in table.itertuples()]
    return table


def _verdict(row, alpha: float) -> str:
    if row.reference:
        return "reference"
    if row.diverged:
        return "diverged"
    if np.isnan(row.p):
        return "not estimable"
    if row.p_holm >= alpha:
        return "undecided"
    return "higher" if row.difference > 0 else "lower"
