"""At which loss arms were compared: what was wanted, what was achieved, and how it is said."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.report.levels import POINT, points
from muonlab.report.numbers import number

NO_LEVEL = "There is no loss that every run of the compared arms passed."
UNKNOWN = "The quantity is not known on both sides of this loss in every run."


def at_levels(
    table: pd.DataFrame, values: pd.DataFrame, pair: tuple[str, str] | None
) -> pd.DataFrame:
    """The contrasts of one pair of arms (a, b) with the loss that it is compared at (`level`), the
    mean losses of the measured snapshots that are nearest to it in each arm (`loss_a`, `loss_b`),
    and their difference. At the end, which has no level, these are the losses at the end.

    `values` are those of `report.outcomes`. Without a pair, the table has no rows.
    """
    table = explained(table, values)
    table["level"] = table.outcome.map(values.groupby("outcome")["level"].first())
    means = values.groupby(["arm", "outcome"]).nearest.mean()
    for side, arm in zip("ab", pair or (None, None), strict=True):
        own = means.loc[arm] if arm else pd.Series(dtype=float)
        table[f"loss_{side}"] = table.outcome.map(own)
    return table.assign(loss_difference=table.loss_a - table.loss_b)


def explained(table: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The table with the reasons of what cannot be estimated at equal loss although no run
    diverged."""
    unknown = values[values.unknown]
    nowhere = set(unknown.outcome[unknown.level.isna()])
    reasons = {name: NO_LEVEL if name in nowhere else UNKNOWN for name in unknown.outcome}
    given = table.outcome.map(reasons)
    return table.assign(reason=table.reason.mask(given.notna() & (table.reason != ""), given))


def place(point: str | float) -> str:
    """What follows the name of an outcome at a point of the run: ", at the end". The point of the
    run as a whole is empty, which a file gives back as NaN."""
    if _is_level(point):
        return f", at {point}"
    return ", at the end" if point == "end" else ""


def at_loss(level: float) -> str:
    """How a figure calls a level of equal loss."""
    return f"at loss {level:.3g}" if np.isfinite(level) else "no common loss"


def achieved(row) -> str:
    """What follows the difference of a contrast at equal loss: that loss, and by how much the
    losses that the arms' snapshots really had differ. `row` is one of contrasts.csv."""
    if not (_is_level(row.point) and np.isfinite(row.level)):
        return ""
    if not np.isfinite(row.loss_difference):
        return f" at {number(row.level)}"
    return f" at {number(row.level)} (Δ {number(row.loss_difference, 2, sign=True)})"


def over_points(names: Sequence[str], levels: int) -> tuple[str, ...]:
    """The names of outcomes at the end and at each of `levels` points of equal loss."""
    places = ["end", *(point.replace(" ", "_") for point in points(levels))]
    return tuple(f"{name}_{place}" for name in names for place in places)


def _is_level(point: str | float) -> bool:
    return isinstance(point, str) and point.startswith(POINT)
