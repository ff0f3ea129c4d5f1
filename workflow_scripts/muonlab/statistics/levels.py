"""Losses that several runs all pass, and what a run's quantities are where it passes one.

A run's losses are made monotone first: only the records that set a new minimum count, so that a run
whose loss rises again still passes each loss once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def front(losses: ArrayLike) -> np.ndarray:
    """Indices of the records that are below all earlier ones; losses that are not finite never
    are. The losses at these indices fall strictly."""
    losses = np.asarray(losses, dtype=np.float64)
    finite = np.where(np.isfinite(losses), losses, np.inf)
    before = np.concatenate([[np.inf], np.minimum.accumulate(finite)[:-1]])
    return np.flatnonzero(finite < before)


def common_levels(curves: Sequence[ArrayLike], count: int) -> np.ndarray:
    """`count` losses that every curve passes, from the highest to the lowest; NaN if there are no
    such losses.

    The lowest is the highest of the curves' minima. The others are spread evenly, in the logarithm
    of the loss, between it and the loss that all curves had soon after the start, which is no level
    itself: the lowest of their second records, or of their first ones where that is not above the
    lowest level or where a loss rises at first. Each curve begins above each level and ends at or
    below it.
    """
    nothing = np.full(count, np.nan)
    fronts = [np.asarray(c, dtype=np.float64)[front(c)] for c in curves]
    if not fronts or any(len(f) == 0 for f in fronts):
        return nothing
    bottom = max(f[-1] for f in fronts)
    start = min(f[0] for f in fronts)
    soon = min(start, *(_second(curve) for curve in curves))
    top = soon if soon > bottom else start
    if not top > bottom:
        return nothing
    spread = np.geomspace if bottom > 0 else np.linspace
    found = spread(top, bottom, count + 1)[1:]
    found[-1] = bottom  # exactly, whatever the rounding
    return np.clip(found, bottom, top)


def at_losses(losses: ArrayLike, values: ArrayLike, levels: ArrayLike) -> np.ndarray:
    """The values (m,) of a run where its losses (m,) first pass each of `levels` (k,): linear in
    the loss between the two records beside it. NaN for a level that the run does not pass, or that
    has no known value (NaN is unknown) on both of its sides."""
    losses, values = (np.asarray(x, dtype=np.float64) for x in (losses, values))
    levels = np.asarray(levels, dtype=np.float64)
    places = front(losses)
    places = places[~np.isnan(values[places])][::-1]
    if len(places) == 0:
        return np.full(levels.shape, np.nan)
    found = np.interp(levels, losses[places], values[places], left=np.nan, right=np.nan)
    return np.where(np.isnan(levels), np.nan, found)


def nearest_losses(losses: ArrayLike, levels: ArrayLike) -> np.ndarray:
    """For each of `levels` (k,), the loss of the record that is nearest to it among those that set
    a new minimum; NaN without such a record, or for a level that is NaN."""
    falling = np.asarray(losses, dtype=np.float64)[front(losses)]
    levels = np.asarray(levels, dtype=np.float64)
    if len(falling) == 0:
        return np.full(levels.shape, np.nan)
    nearest = np.abs(falling - levels[..., None]).argmin(axis=-1)
    return np.where(np.isnan(levels), np.nan, falling[nearest])


def _second(curve: ArrayLike) -> float:
    """The second finite loss of a curve; of a curve with one loss, that one."""
    curve = np.asarray(curve, dtype=np.float64)
    finite = curve[np.isfinite(curve)]
    return float(finite[min(1, len(finite) - 1)])
