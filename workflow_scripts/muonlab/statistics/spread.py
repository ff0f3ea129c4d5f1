"""How the spread of two arms over seeds compares: the ratio of their standard deviations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.intervals import check_level
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


def spread_ratio(a: ArrayLike, b: ArrayLike, paired: bool, alpha: float = 0.05) -> Spread:
    """The ratio of standard deviations of a and b, shapes (n_a,) and (n_b,), under normality.

    Unpaired: the interval of Fisher's variance ratio with n_a − 1 and n_b − 1 degrees of freedom.
    Paired, n_a = n_b = n: that of Pitman (1939) and Morgan (1939, Biometrika 31), which allows for
    the correlation r of a and b: with K = 1 + 2(1 − r²)·t²_{1−α/2, n−2}/(n − 2), the variance ratio
    lies between ω·(K − √(K² − 1)) and ω·(K + √(K² − 1)). It excludes 1 exactly where the
    correlation of a + b with a − b is significant. Paired runs need three seeds.

    Values that are not finite, and arms without spread, are not estimable. ValueError for paired
    arms of different length and an `alpha` outside (0, 1).
    """
    check_level(alpha)
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if paired and len(a) != len(b):
        raise ValueError(f"paired arms need equally many seeds, not {len(a)} and {len(b)}.")
    n = min(len(a), len(b))
    if n < (3 if paired else 2) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Spread(n, np.nan, np.nan, np.nan, np.nan)
    sd_a, sd_b = np.std(a, ddof=1), np.std(b, ddof=1)
    if not (sd_a > 0 and sd_b > 0):
        return Spread(n, np.nan, np.nan, np.nan, np.nan)
    variance_ratio = (sd_a / sd_b) ** 2
    low, high = (_paired if paired else _unpaired)(a, b, variance_ratio, alpha)
    ratio = float(sd_a / sd_b)
    return Spread(n, ratio, float(np.sqrt(low)), float(np.sqrt(high)), _needed(ratio, alpha))


def _paired(a: np.ndarray, b: np.ndarray, ratio: float, alpha: float) -> tuple[float, float]:
    n = len(a)
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    t = stats.t.isf(alpha / 2, n - 2)
    k = 1 + 2 * (1 - r * r) * t * t / (n - 2)
    root = np.sqrt(k * k - 1)
    return ratio / (k + root), ratio * (k + root)  # k − root = 1/(k + root), without cancellation


def _unpaired(a: np.ndarray, b: np.ndarray, ratio: float, alpha: float) -> tuple[float, float]:
    freedom = len(a) - 1, len(b) - 1
    return ratio / stats.f.isf(alpha / 2, *freedom), ratio / stats.f.ppf(alpha / 2, *freedom)


def _needed(ratio: float, alpha: float) -> float:
    """log s² has the variance 2/(n − 1), so the logarithm of the variance ratio has 4/(n − 1)."""
    effect = 2 * abs(np.log(ratio))
    if effect == 0:
        return np.inf
    n = 1 + 4 * ((stats.norm.isf(alpha / 2) + stats.norm.ppf(POWER)) / effect) ** 2
    return float(np.ceil(n)) if n <= MOST_SEEDS else np.inf
