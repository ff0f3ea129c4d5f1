"""Tests of two arms (one number per seed): paired and Welch's t, TOST, ranks; power.

Every function takes flat samples, keeps the rules of `intervals` (NaN where nothing can be
estimated, diverged runs never dropped), and lets scipy do the work where it has the test.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.intervals import (
    RESOLUTION,
    as_sample,
    check_level,
    is_constant,
    noncentrality,
)

# With five pairs the smallest two-sided p is 2/2⁵ = .0625: the test could never reject at .05.
MIN_PAIRS_WILCOXON = 6


@dataclass(frozen=True)
class TResult:
    """A t test of mean(a) − mean(b) with its interval; NaN where not estimable."""

    difference: float
    low: float
    high: float
    se: float
    t: float
    df: float
    p: float


@dataclass(frozen=True)
class RankResult:
    """A rank test: `n` is the number of pairs that carry a sign."""

    n: int
    statistic: float
    p: float


def paired_samples(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 of one shape (n,); ValueError when their lengths differ."""
    a, b = as_sample(a, "a"), as_sample(b, "b")
    if len(a) != len(b):
        raise ValueError(f"a and b must pair up: a has {len(a)} values, b has {len(b)}.")
    return a, b


def paired_t(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> TResult:
    """Paired t test of mean(a − b) = 0, two-sided, with its 1 − α interval (Student 1908).

    a, b: shape (n,), paired by position. n < 2 or a value that is not finite: all NaN. All
    differences equal (identical arms among them): the difference is a number, the rest is NaN.
    """
    check_level(alpha)
    a, b = paired_samples(a, b)
    if len(a) < 2 or not np.isfinite([a, b]).all():
        return _no_t_test()
    difference = a - b
    if is_constant(difference, scale=np.max(np.abs([a, b]))):
        return _no_t_test(float(np.mean(difference)))
    result = stats.ttest_rel(a, b)
    se = np.std(difference, ddof=1) / np.sqrt(len(difference))
    return _t_result(float(np.mean(difference)), se, result, alpha)


def welch_t(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> TResult:
    """Welch's t test of mean(a) = mean(b), variances free, with its interval (Welch 1947).

    a, b: shapes (n_a,), (n_b,), independent. Fewer than two values in either or a value that is
    not finite: all NaN. Both arms without variance: the difference is a number, the rest is NaN.
    """
    check_level(alpha)
    a, b = as_sample(a, "a"), as_sample(b, "b")
    both = np.concatenate([a, b])
    if min(len(a), len(b)) < 2 or not np.isfinite(both).all():
        return _no_t_test()
    difference = float(np.mean(a) - np.mean(b))
    scale = np.max(np.abs(both))
    if is_constant(a, scale) and is_constant(b, scale):
        return _no_t_test(difference)
    # scipy warns of lost precision if one arm is constant; the other's variance is sufficient.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        result = stats.ttest_ind(a, b, equal_var=False)
    se = np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return _t_result(difference, se, result, alpha)


def tost(test: TResult, sesoi: float) -> float:
    """p of two one-sided t tests that |mean(a) − mean(b)| < sesoi (Schuirmann 1987).

    `test` is `paired_t` or `welch_t`; `sesoi` the declared smallest difference of interest, in
    the outcome's unit. The larger of the two one-sided p values; NaN when the test is NaN. It is
    below α exactly when the 1 − 2α interval lies inside ±sesoi. ValueError when sesoi ≤ 0.
    """
    if not (np.isfinite(sesoi) and sesoi > 0):
        raise ValueError(f"the smallest difference of interest must be positive, not {sesoi}.")
    above_lower = stats.t.sf((test.difference + sesoi) / test.se, test.df)
    below_upper = stats.t.cdf((test.difference - sesoi) / test.se, test.df)
    return float(np.maximum(above_lower, below_upper))


def wilcoxon_signed_rank(a: ArrayLike, b: ArrayLike) -> RankResult:
    """Wilcoxon's signed-rank test of symmetry of a − b about 0, two-sided (Wilcoxon 1945).

    a, b: shape (n,), paired by position. Zero differences are dropped; fewer than six that
    remain: NaN. Exact up to 50 pairs without ties and up to 13 with, else the tie-corrected
    normal approximation. ±inf ranks last (a run that never reached its target is the worst);
    NaN has no rank and makes the test NaN.
    """
    a, b = paired_samples(a, b)
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, a - b)  # inf against inf is a tie
    if np.isnan(difference).any():
        return RankResult(len(difference), np.nan, np.nan)
    difference = _rankable(difference, np.concatenate([a, b]))
    n = len(difference)
    if n < MIN_PAIRS_WILCOXON:
        return RankResult(n, np.nan, np.nan)
    result = stats.wilcoxon(difference)
    return RankResult(n, float(result.statistic), float(result.pvalue))


def minimum_detectable_difference(
    sd_difference: float, n: int, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that a paired two-sided t test of `n` pairs finds with `power`.

    δ·sd/√n, in the outcome's unit, with δ the noncentrality at which P(T > t_{1−α/2, n−1}) =
    power (Cohen 1988, ch. 2). Rejections on the wrong side are left out; they add less than
    Φ(−2 z_{1−α/2}) to a power ≥ .5, 5e-5 at α = .05. NaN for n < 2 or a standard deviation that
    is zero or not finite. `sd_difference` is that of a − b: an estimate from the same n pairs,
    hence no more certain than they are.
    """
    check_level(alpha)
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1, not {power}.")
    if n < 2 or not (np.isfinite(sd_difference) and sd_difference > 0):
        return np.nan
    return sd_difference * _detectable_d_z(n, alpha, power)


@lru_cache(maxsize=256)
def _detectable_d_z(n: int, alpha: float, power: float) -> float:
    critical = float(stats.t.isf(alpha / 2, n - 1))
    return noncentrality(critical, n - 1, 1 - power) / np.sqrt(n)


def _t_result(difference: float, se: float, result, alpha: float) -> TResult:
    interval = result.confidence_interval(1 - alpha)
    low, high = float(interval.low), float(interval.high)
    t, df, p = float(result.statistic), float(result.df), float(result.pvalue)
    return TResult(difference, low, high, float(se), t, df, p)


def _no_t_test(difference: float = np.nan) -> TResult:
    return TResult(difference, *[np.nan] * 6)


def _rankable(difference: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Differences with rounding removed (equal ones tie), zeros dropped, ±inf made largest."""
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
    # The median, not the largest: the rounding must not grow with one run that diverged, or it
    # would erase the signs of the others.
    scale = np.median(magnitudes) if len(magnitudes) else 1.0
    ranked = np.round(difference / (RESOLUTION * scale))
    beyond = 1 + np.max(np.abs(ranked[np.isfinite(ranked)]), initial=0.0)
    ranked = np.clip(ranked, -beyond, beyond)
    return ranked[ranked != 0]
