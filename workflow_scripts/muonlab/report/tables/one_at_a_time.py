"""The loss over one setting at a time, all others at their chosen values."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.report.sweeps import REPORTING, TUNING, sweep_points
from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.verdicts import verdict
from muonlab.tuning.selection import loss_column

OUTCOME = "final_loss"


@table(
    section="tables",
    outputs={
        "one_at_a_time": (
            "one setting at a time",
            "Loss on *{data}* over one setting at a time, all others at their chosen values. "
            "Numbers of a grid of tuning are varied over the tuning seeds, those of the grid of "
            "``sensitivity`` over the first reporting seeds; numbers that other arms change are "
            "compared over all reporting seeds. The mean has an {interval} interval, the paired "
            "difference from the reference (the chosen value, or the base's) a simultaneous one, "
            "from which its ``verdict`` is read: where other arms change the number, the interval, "
            "the verdict and their family are those of the table *contrasts between arms*; "
            "otherwise the values of a sweep are one family. On tuning seeds the chosen value "
            "looks better than it is, because these seeds also chose it. Protocol: {protocol}.",
        ),
    },
)
def one_at_a_time(
    selection: dict,
    sweeps: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    contrasts: pd.DataFrame,
    comparison: Mapping | None = None,
    grid_runs: Sequence[dict] | None = None,
    grid_summaries: Sequence[dict] | None = None,
) -> pd.DataFrame:
    points = sweep_points(selection, sweeps, runs, summaries, study, grid_runs, grid_summaries)
    # contrasts.csv compares final losses; a tuning by the lowest loss looks at others.
    of_final = loss_column(selection["score"]) == OUTCOME
    compared = compared_arms(contrasts, sweeps) if of_final else None
    smallest = (comparison or {}).get("smallest_difference", {}).get(OUTCOME)
    return one_at_a_time_table(points, study, compared, smallest if of_final else None)


def compared_arms(contrasts: pd.DataFrame, sweeps: Sequence[dict]) -> dict[tuple, Mapping]:
    """(arm, field, value) → the comparison that contrasts.csv has of the final losses of the arm
    with that value minus the arm that the sweep refers to."""
    own = contrasts[contrasts.outcome == OUTCOME]
    rows = {(row.arm_a, row.arm_b): row for row in own.itertuples()}
    found = {}
    for sweep in sweeps:
        for value, arm in sweep["arms"]:
            if (arm, sweep["arm"]) in rows:
                row = rows[arm, sweep["arm"]]
                facts = {"difference": row.difference, "p": row.p, "p_adjusted": row.p_adjusted}
                facts |= {"difference_low": row.low, "difference_high": row.high}
                facts |= {"family": row.family, "verdict": row.verdict, "needs_n": row.needs_n}
                found[sweep["arm"], sweep["field"], value] = facts
    return found


def one_at_a_time_table(
    points: pd.DataFrame,
    study: dict,
    compared: Mapping[tuple, Mapping] | None = None,
    smallest: float | None = None,
) -> pd.DataFrame:
    """Mean loss and interval of each value of each sweep, and the paired difference from the
    reference, over the seeds of `sweep_points`. The values of one sweep are one family, except for
    those that `compared` (arm, field, value) has in a family already. Where the reference was
    chosen on the same seeds, its advantage is overestimated."""
    settings = {arm["name"]: arm["settings"] for arm in study["arms"]}
    edges = {arm["name"]: arm["edges"] for arm in study["arms"]}
    tables = []
    for (arm, field, seeds), own in points.groupby(["arm", "field", "seeds"], sort=False):
        table = _compared(
            own.pivot(index="seed", columns="value", values="loss"), own, study["alpha"], smallest
        )
        for place, value in enumerate(table.value):
            facts = (compared or {}).get((arm, field, value)) if seeds == REPORTING else None
            for name, fact in (facts or {}).items():
                table.loc[place, name] = fact
        others = {f: v for f, v in settings[arm].items() if f != field}
        table.insert(0, "arm", arm)
        table.insert(1, "field", field)
        table["beside"] = listed(others)
        table["seeds"] = seeds
        table["edge"] = edges[arm].get(field, "") if seeds == TUNING else ""
        tables.append(table.assign(data=study["data"], protocol=study["protocol"]))
    return pd.concat(tables, ignore_index=True)


def _compared(
    by_value: pd.DataFrame, own: pd.DataFrame, alpha: float, smallest: float | None
) -> pd.DataFrame:
    """One row for each value, a column of `by_value`, whose rows are seeds."""
    base = own.value[own.reference].iloc[0]
    reference = by_value[base].to_numpy()
    rows = []
    size = max(1, by_value.shape[1] - 1)
    for value, losses in by_value.items():
        mean = mean_interval(losses.to_numpy(), alpha)
        row = {"value": value, "reference": value == base, "n": mean.n, "diverged": mean.diverged}
        row["mean"] = losses.mean(skipna=False)
        row |= {"low": mean.low, "high": mean.high}
        test = paired_t(losses.to_numpy(), reference, alpha / size)
        found = {"difference": losses.mean(skipna=False) - reference.mean(), "p": test.p}
        found |= {"p_adjusted": np.minimum(1.0, size * test.p), "family": "sweep"}
        row |= found | {"difference_low": test.low, "difference_high": test.high}
        judged = verdict(
            row["difference"], test.low, test.high, mean.n,
            alpha=alpha / size, smallest=smallest, better="lower",
        )  # fmt: skip
        row |= {"verdict": judged.word, "needs_n": judged.needs_n}
        rows.append(row | ({"verdict": "reference", "family": ""} if row["reference"] else {}))
    return pd.DataFrame(rows)
