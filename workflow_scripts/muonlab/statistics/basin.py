"""The width of an optimizer's learning-rate basin, and the difference between two of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.hypothesis_tests import TResult, paired_t
from muonlab.statistics.intervals import check_level, mean_interval
from muonlab.statistics.verdicts import DIFFERENT, NOT_ESTIMABLE, UNDECIDED, verdict

TOLERANCE = 0.01  # of the best loss


@dataclass(frozen=True)
class Widths:
    """Basin widths in octaves (factors of two), shape (n,); NaN where all runs of a seed diverged.

    `cut_low`, `cut_high`: the basin extends to that end of the rates tried, so that the width is a
    lower bound.
    """

    octaves: np.ndarray
    cut_low: np.ndarray
    cut_high: np.ndarray

    @property
    def cut(self) -> np.ndarray:
        """Whether the width is a lower bound, shape (n,)."""
        return self.cut_low | self.cut_high


@dataclass(frozen=True)
class Basin:
    """Mean basin width over n seeds in octaves, with its t interval; NaN where not estimable.

    `cut_low` and `cut_high` count the seeds whose basin extends to that end of the rates tried. If
    there are any, the mean is a lower bound and `high` is infinite.
    """

    n: int
    octaves: float
    low: float
    high: float
    cut_low: int
    cut_high: int
    diverged: int

    @property
    def at_least(self) -> bool:
        """Whether the width is a lower bound."""
        return bool(self.cut_low or self.cut_high)


@dataclass(frozen=True)
class BasinContrast:
    """Width of a minus width of b in octaves, paired by seed, and the verdict.

    `verdict`: "a wider", "b wider", "undecided" (with `needs_n`, the number of seeds that would
    decide it), "no verdict" (fewer than four seeds) or "not estimable". A basin that was cut off
    may be wider than its measured width, so it can be called wider but never narrower; `reason`
    says where this makes the verdict "undecided".
    """

    test: TResult
    cut_a: int
    cut_b: int
    verdict: str
    reason: str
    needs_n: float = np.nan


def basin_widths(rates: ArrayLike, losses: ArrayLike, tolerance: float = TOLERANCE) -> Widths:
    """The range of rates about the best one with loss ≤ (1 + tolerance) · best loss, per seed.

    rates: (m,), positive and rising (learning rates or factors of one); losses: (n, m), positive,
    not finite where a run diverged. Between two rates the loss is taken as linear in the rate's
    logarithm; between a rate and one that diverged it is taken as infinite. The range is the
    connected one around the lowest loss. ValueError for other shapes, rates or losses.
    """
    rates, losses = _checked(rates, losses, tolerance)
    finite = np.where(np.isfinite(losses), losses, np.inf)
    position, n = np.log2(rates), len(losses)
    low, high = np.full(n, np.nan), np.full(n, np.nan)
    cut_low, cut_high = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for seed, row in enumerate(finite):
        best = int(np.argmin(row))
        if np.isfinite(row[best]):
            limit = (1 + tolerance) * row[best]
            high[seed], cut_high[seed] = _reach(position[best:], row[best:], limit)
            low[seed], cut_low[seed] = _reach(position[best::-1], row[best::-1], limit)
    return Widths(high - low, cut_low, cut_high)


def basin(
    rates: ArrayLike, losses: ArrayLike, tolerance: float = TOLERANCE, alpha: float = 0.05
) -> Basin:
    """The mean of `basin_widths` over seeds with its t interval."""
    widths = basin_widths(rates, losses, tolerance)
    mean = mean_interval(widths.octaves, alpha)
    high = np.inf if widths.cut.any() and np.isfinite(mean.mean) else mean.high
    cut_low, cut_high = int(widths.cut_low.sum()), int(widths.cut_high.sum())
    return Basin(mean.n, mean.mean, mean.low, high, cut_low, cut_high, mean.diverged)


def basin_contrast(a: Widths, b: Widths, alpha: float = 0.05) -> BasinContrast:
    """The paired t test of two arms' widths over the same seeds, in the same order.

    A width that is a lower bound can only make its own arm look narrower. So "a wider" is valid if
    widths of a were cut off, but not if widths of b were.
    """
    check_level(alpha)
    test = paired_t(a.octaves, b.octaves, alpha)
    cut_a, cut_b = int(a.cut.sum()), int(b.cut.sum())
    if np.isnan(test.p):
        reason = "Fewer than two seeds, a seed without a finite loss, or equal differences."
        return BasinContrast(test, cut_a, cut_b, NOT_ESTIMABLE, reason)
    found = verdict(test.difference, test.low, test.high, len(a.octaves), alpha=alpha)
    if found.word not in DIFFERENT:
        return BasinContrast(test, cut_a, cut_b, found.word, "", found.needs_n)
    winner, cut_loser = ("a", cut_b) if test.difference > 0 else ("b", cut_a)
    if cut_loser:
        reason = f"The narrower basin is cut off by the rates tried on {cut_loser} seeds."
        return BasinContrast(test, cut_a, cut_b, UNDECIDED, reason)
    return BasinContrast(test, cut_a, cut_b, f"{winner} wider", "")


def _reach(position: np.ndarray, row: np.ndarray, limit: float) -> tuple[float, bool]:
    """How far from the first position the loss stays at or under `limit`, and whether the rates
    tried end before it rises above."""
    above = np.flatnonzero(row > limit)
    if not len(above):
        return float(position[-1]), True
    outer = int(above[0])
    inner = outer - 1
    share = (limit - row[inner]) / (row[outer] - row[inner])  # 0 towards a diverged run
    return float(position[inner] + share * (position[outer] - position[inner])), False


def _checked(
    rates: ArrayLike, losses: ArrayLike, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    rates, losses = np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if rates.ndim != 1 or losses.ndim != 2 or losses.shape[1] != len(rates) or not len(rates):
        raise ValueError(
            f"rates and losses must be of shapes (m,) and (n, m), not {rates.shape} and "
            f"{losses.shape}."
        )
    if not (np.isfinite(rates).all() and rates[0] > 0 and (np.diff(rates) > 0).all()):
        raise ValueError("rates must be positive and rising.")
    if (losses <= 0).any():
        raise ValueError("a width relative to the best loss needs positive losses.")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, not {tolerance}.")
    return rates, losses
