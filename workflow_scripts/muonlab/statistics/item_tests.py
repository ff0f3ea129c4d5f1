"""Two models on the same items of a benchmark: McNemar's test and a bootstrap over items.

Items differ in difficulty, so models are compared item by item; two accuracies that were taken for
independent samples would need far more items to be told apart.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.bootstrap import RESAMPLES, percentile_interval, resampled
from muonlab.statistics.intervals import check_level

AT_ONCE = 2**22  # numbers that a bootstrap holds at a time


class McNemar(NamedTuple):
    """How many items only a and only b got right, and the exact two-sided p."""

    only_a: int
    only_b: int
    p: float


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """McNemar's exact test (1947, Psychometrika 12) for whether a and b are right equally often.

    `a` and `b` (items,) say which items each got right. Of the items that only one got right, the
    number that a did is binomial with ½. p is 1 where there is none, and NaN without items.
    ValueError for unequal lengths.
    """
    a, b = _paired(a, b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not len(a):
        return McNemar(0, 0, np.nan)
    total = only_a + only_b
    p = stats.binomtest(only_a, total, 0.5).pvalue if total else 1.0
    return McNemar(only_a, only_b, float(p))


def over_items(
    values: ArrayLike, alpha: float = 0.05, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 1 − α percentile bootstrap interval of the mean of `values` (items,) over items.

    The values are one model's scores or the differences of two. NaN for fewer than two items, for a
    value that is not finite, and where all resamples agree.
    """
    check_level(alpha)
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    step, means = max(1, AT_ONCE // len(values)), []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = resampled(len(values), count, seed, "items", str(start))
        means.append(values[drawn].mean(axis=1))
    low, high = percentile_interval(np.concatenate(means), alpha)
    return float(low), float(high)


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both must be (items,), not of shapes {a.shape} and {b.shape}.")
    return a, b
