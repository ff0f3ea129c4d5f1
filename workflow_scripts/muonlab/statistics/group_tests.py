"""Tests of several groups at once: variances, analysis of variance, Tukey's comparisons.

Groups are flat samples, one per arm, taken as independent. The rules are those of `intervals`:
NaN where nothing can be estimated, diverged runs never dropped.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from muonlab.statistics.intervals import as_sample, check_level, is_constant


@dataclass(frozen=True)
class FResult:
    """An F test over groups; NaN where not estimable."""

    f: float
    df_between: float
    df_within: float
    p: float


NO_F_TEST = FResult(np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class TukeyResult:
    """Tukey's comparisons of k groups: matrices (k, k), [i, j] is group i minus group j."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def brown_forsythe(*groups: ArrayLike) -> FResult:
    """Levene's test of equal variances about the medians (Brown & Forsythe 1974).

    groups: k ≥ 2 samples. It takes them as independent, so pairing by seed is not used. Under
    three values per group |x − median| has no variance of its own: NaN, like anything diverged.
    """
    samples = _groups(groups)
    if not _usable(samples, least=3):
        return NO_F_TEST
    deviations = [np.abs(x - np.median(x)) for x in samples]
    if _all_constant(deviations, scale=np.max(np.abs(np.concatenate(samples)))):
        return NO_F_TEST
    result = stats.levene(*samples, center="median")
    return _f_result(samples, result.statistic, result.pvalue)


def one_way_anova(*groups: ArrayLike) -> FResult:
    """One-way analysis of variance of k ≥ 2 groups of common variance (Fisher 1925).

    A group of fewer than two values, a value that is not finite, or no variance inside any
    group: all NaN.
    """
    samples = _groups(groups)
    if not _usable(samples, least=2) or _all_constant(samples):
        return NO_F_TEST
    # scipy warns of a constant group; here another one has variance.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        result = stats.f_oneway(*samples)
    return _f_result(samples, result.statistic, result.pvalue)


def welch_anova(*groups: ArrayLike) -> FResult:
    """Welch's analysis of variance of k ≥ 2 groups, variances free (Welch 1951).

    Not estimable where `one_way_anova` is not, or when any group has no variance: it weighs
    groups by 1 / variance.
    """
    samples = _groups(groups)
    if not _usable(samples, least=2) or any(map(is_constant, samples)):
        return NO_F_TEST
    from statsmodels.stats.oneway import anova_oneway

    result = anova_oneway(samples, use_var="unequal")
    return FResult(*map(float, (result.statistic, *result.df, result.pvalue)))


def tukey_hsd(*groups: ArrayLike, alpha: float = 0.05) -> TukeyResult:
    """Tukey–Kramer honest significant differences of k ≥ 2 groups (Tukey 1953; Kramer 1956).

    Simultaneous 1 − α intervals and p values corrected for all k(k − 1)/2 pairs. Not estimable
    where `one_way_anova` is not: all matrices NaN.
    """
    check_level(alpha)
    samples = _groups(groups)
    if not _usable(samples, least=2) or _all_constant(samples):
        nothing = np.full((len(samples), len(samples)), np.nan)
        return TukeyResult(nothing, nothing, nothing, nothing)
    sizes = np.array([len(x) for x in samples])
    k, df = len(samples), int(sizes.sum()) - len(samples)
    within = np.sum([np.var(x, ddof=1) for x in samples] * (sizes - 1)) / df
    se = np.sqrt((1 / sizes[:, None] + 1 / sizes) * within / 2)
    means = np.array([np.mean(x) for x in samples])
    difference = means[:, None] - means
    p = np.ones((k, k))
    upper = np.triu_indices(k, 1)
    p[upper] = studentized_range_sf(np.abs(difference / se)[upper], k, df)
    p.T[upper] = p[upper]
    radius = _critical_range(1 - alpha, k, df) * se
    return TukeyResult(difference, difference - radius, difference + radius, p)


def studentized_range_sf(q: np.ndarray, k: int, df: int) -> np.ndarray:
    """P(Q > q) of the studentized range of k means with df degrees of freedom, for q of shape (m,).

    It is 1 − k ∫ f(s) ∫ φ(z) (Φ(z) − Φ(z − q·s))^(k−1) dz ds, with f the density of the estimated
    standard deviation, by Gauss and Legendre's rule with fixed nodes. It agrees with scipy's
    adaptive integrals, of which each takes about ten times as long, to 1e-12; below three degrees
    of freedom, where f is too wide for the nodes, scipy's are taken.
    """
    if df < 3:
        return stats.studentized_range.sf(q, k, df)
    ends = [np.sqrt(end / df) for end in (stats.chi2.ppf(1e-17, df), stats.chi2.isf(1e-17, df))]
    s, density = _legendre(160 if df < 20 else 64, *ends)
    density = density * stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)
    z, normal = _legendre(160, -8.5, 8.5)
    normal, below = k * normal * stats.norm.pdf(z), special.ndtr(z)
    spread = [below - special.ndtr(z - value * s[:, None]) for value in q]
    inside = [density @ (_power(each, k - 1) @ normal) for each in spread]
    return np.clip(1 - np.array(inside), 0.0, 1.0)


def _power(x: np.ndarray, n: int) -> np.ndarray:
    """x to the power n ≥ 1 by squaring, which is faster than numpy's own power."""
    if n == 1:
        return x
    half = _power(x, n // 2)
    return half * half * x if n % 2 else half * half


def _legendre(nodes: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The nodes and weights of Gauss and Legendre's rule on [low, high]."""
    x, weights = _rule(nodes)
    half = (high - low) / 2
    return low + half * (x + 1), half * weights


_rule = cache(np.polynomial.legendre.leggauss)


@cache
def _critical_range(level: float, k: int, df: int) -> float:
    """The quantile at `level` of the studentized range of k means with df degrees of freedom."""
    return float(stats.studentized_range.ppf(level, k, df))


def _f_result(samples: Sequence[np.ndarray], f: float, p: float) -> FResult:
    k, n = len(samples), sum(map(len, samples))
    return FResult(float(f), float(k - 1), float(n - k), float(p))


def _groups(groups: Sequence[ArrayLike]) -> list[np.ndarray]:
    if len(groups) < 2:
        raise ValueError(f"a test between groups needs at least two groups, not {len(groups)}.")
    return [as_sample(x, f"group {i}") for i, x in enumerate(groups)]


def _usable(samples: Sequence[np.ndarray], least: int) -> bool:
    return all(len(x) >= least and np.isfinite(x).all() for x in samples)


def _all_constant(samples: Sequence[np.ndarray], scale: float | None = None) -> bool:
    scale = np.max(np.abs(np.concatenate(samples))) if scale is None else scale
    return all(is_constant(x, scale) for x in samples)
