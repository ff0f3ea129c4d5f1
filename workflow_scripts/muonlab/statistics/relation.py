"""Whether a relation of an outcome to a dose holds: not by one arm, nor by the choice of relations.

`dose_response` gives slope and ρ with an interval. Two things make such a relation say more than it
knows: a single arm far from the others, and the best of many relations. Against the first, each arm
is left out in turn; against the second, the intervals of all relations that are shown together are
simultaneous (Bonferroni: each of m has the level 1 − α/m).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.dose_response import DoseResponse, dose_response
from muonlab.statistics.intervals import check_level
from muonlab.statistics.verdicts import MIN_SEEDS, NO_VERDICT, NOT_ESTIMABLE, TOO_FEW, UNDECIDED

HOLDS, FLAT, ONE_ARM = "holds", "flat", "rests on one arm"


@dataclass(frozen=True)
class LeftOut:
    """A statistic (slope or ρ) with each arm left out in turn; NaN where it is not estimable.

    `low` and `high` are the least and the greatest of these values; `moved_by` is the place of the
    arm without which it changes most (None where nothing is estimable), and `turned_by` are the
    places of the arms without which it loses its sign.
    """

    low: float
    high: float
    moved_by: int | None
    turned_by: tuple[int, ...]


def simultaneous(alpha: float, relations: int) -> float:
    """The α of each of m intervals that hold together at level 1 − α (Bonferroni; Dunn 1961)."""
    check_level(alpha)
    return alpha / max(1, relations)


def leave_one_out(doses: ArrayLike, outcomes: ArrayLike) -> tuple[LeftOut, LeftOut]:
    """Slope and ρ of `dose_response`, each with every one of the m doses left out in turn.

    doses: (m,) or (n, m), outcomes: (n, m), as in `dose_response`, which raises the errors. Without
    an arm whose doses alone differ there is no slope, so such an arm counts as one that turns it.
    With three doses ρ cannot be estimated from the two that remain, and no arm turns it.
    """
    doses, outcomes = np.asarray(doses, dtype=float), np.asarray(outcomes, dtype=float)
    whole = dose_response(doses, outcomes)
    parts = [
        dose_response(np.delete(doses, j, axis=-1), np.delete(outcomes, j, axis=-1))
        for j in range(whole.doses)
    ]
    slopes, rhos = ([getattr(part, name) for part in parts] for name in ("slope", "rho"))
    return _left_out(whole.slope, slopes, True), _left_out(whole.rho, rhos, False)


def _left_out(whole: float, values: Sequence[float], missing_turns: bool) -> LeftOut:
    found = np.asarray(values)
    known = np.isfinite(found)
    if not np.isfinite(whole) or not known.any():
        return LeftOut(np.nan, np.nan, None, ())
    moves = np.where(known, np.abs(found - whole), -np.inf)
    turned = np.where(known, found * whole <= 0, missing_turns)
    places = tuple(int(place) for place in np.flatnonzero(turned))
    return LeftOut(found[known].min(), found[known].max(), int(np.argmax(moves)), places)


def judged(
    response: DoseResponse, slope: LeftOut, rho: LeftOut, smallest: float | None, span: float
) -> tuple[str, str]:
    """The verdict on a relation whose intervals are simultaneous, and the reason as a sentence.

    In this order: "not estimable" (no interval), "no verdict" (fewer than four seeds), "flat" (over
    the whole `span` of the doses the outcome changes by less than the declared `smallest`
    difference of interest, at both ends of the slope's interval), "undecided" (the interval
    includes 0, or slope and ρ have opposite signs), "rests on one arm" (without some arm, slope or
    ρ loses its sign), "holds".
    """
    if response.n < 2:
        return NOT_ESTIMABLE, TOO_FEW
    if response.n < MIN_SEEDS:
        return NO_VERDICT, f"A verdict needs {MIN_SEEDS} seeds, and there are {response.n}."
    if not np.isfinite(response.slope_low):
        lost = f"{response.diverged} runs diverged." if response.diverged else "No spread."
        return NOT_ESTIMABLE, lost
    ends = np.abs([response.slope_low, response.slope_high]) * span
    if smallest is not None and ends.max() < smallest:
        return FLAT, f"Over all doses the change is below {smallest:g}."
    if response.slope_low <= 0 <= response.slope_high:
        return UNDECIDED, "The simultaneous interval of the slope includes 0."
    if response.rho * response.slope < 0:
        return UNDECIDED, "Slope and rank correlation have opposite signs."
    if slope.turned_by or rho.turned_by:
        return ONE_ARM, "Without one arm the relation loses its sign."
    return HOLDS, ""
