"""How the spread of two arms over seeds compares: the ratio of their standard deviations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.spread_ratio import spread_ratio
from muonlab.statistics.verdicts import MOST_SEEDS, POWER


@dataclass(frozen=True)
class Spread:
    """sd_a / sd_b over n seeds with its interval; NaN where not estimable. `needs_n` is the number
    of seeds that would show a true ratio of this size with a power of 80 %."""

    n: int
    ratio: float
    low: float
    high: float
    needs_n: float


def ratio_of_deviations(a: ArrayLike, b: ArrayLike, paired: bool, alpha: float = 0.05) -> Spread:
    """The ratio of standard deviations of a and b, shapes (n_a,) and (n_b,), under normality: that
    of `statistics.spread_ratio`, as a factor in place of its logarithm.

    Values that are not finite, arms without spread and fewer than three pairs are not estimable.
    ValueError for paired arms of different length and an `alpha` outside (0, 1).
    """
    found = spread_ratio(a, b, alpha, paired=paired)
    ratio, low, high = map(float, np.exp([found.log_ratio, found.low, found.high]))
    return Spread(found.n, ratio, low, high, _needed(ratio, alpha))


def _needed(ratio: float, alpha: float) -> float:
    """log s² has the variance 2/(n − 1), so the logarithm of the variance ratio has 4/(n − 1)."""
    effect = 2 * abs(np.log(ratio))
    if not np.isfinite(effect):
        return np.nan
    if effect == 0:
        return np.inf
    n = 1 + 4 * ((stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER)) / effect) ** 2
    return float(np.ceil(n)) if n <= MOST_SEEDS else np.inf
