"""The difference of two arms over paired seeds, with its interval and a word for what it shows.

This is the one place in which the tables of anchor checks, of the waterfall and of convergence
compare arms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.hypothesis_tests import paired_t

LEAST = 4  # paired seeds below which an interval is given but nothing is concluded from it
HIGHER, LOWER, UNDECIDED, NONE = "higher", "lower", "undecided", "no verdict"


@dataclass(frozen=True)
class Paired:
    """The mean of a − b over n paired seeds with its 1 − α interval, in the values' unit.

    `verdict` is "higher" or "lower" where the interval excludes 0, "undecided" where it does not,
    and "no verdict" for fewer than LEAST seeds or where there is no interval; `reason` says why. A
    single seed has a difference without an interval.
    """

    n: int
    difference: float
    low: float
    high: float
    verdict: str
    reason: str


def paired(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> Paired:
    """a − b for samples (n,) that are paired by position.

    A value that is not finite makes the difference not estimable. ValueError for unequal lengths.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    test = paired_t(a, b, alpha)
    n, finite = len(a), bool(np.isfinite([a, b]).all())
    difference = float(np.mean(a - b)) if n and finite else np.nan
    verdict, reason = NONE, ""
    if not finite:
        reason = "a value is not finite"
    elif n < LEAST:
        reason = f"n = {n} is below {LEAST}"
    elif np.isnan(test.low):
        reason = "the difference is the same on every seed"
    else:
        verdict = HIGHER if test.low > 0 else LOWER if test.high < 0 else UNDECIDED
    return Paired(n, difference, test.low, test.high, verdict, reason)
