"""Standardised effect sizes with intervals: d_z for paired arms, Hedges' g for independent ones.

The intervals here are exact (they invert the noncentral t). The normal approximation would be far
too narrow for a study with five seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from muonlab.statistics.hypothesis_tests import paired_samples
from muonlab.statistics.intervals import as_sample, check_level, is_constant, noncentrality


@dataclass(frozen=True)
class Effect:
    """A standardised effect of a over b (no unit) and its interval; NaN where not estimable."""

    value: float
    low: float
    high: float

    @property
    def estimable(self) -> bool:
        """Whether the effect is a number."""
        return bool(np.isfinite(self.value))


NOT_ESTIMABLE = Effect(np.nan, np.nan, np.nan)


def cohens_d_z(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> Effect:
    """Cohen's d_z = mean(a − b) / sd(a − b) with its 1 − α interval.

    a, b: shape (n,), paired by position. d_z·√n follows a noncentral t with n − 1 degrees of
    freedom, inverted for the interval (Cohen 1988, ch. 2; Cumming & Finch 2001, Educ.
    Psychol. Meas. 61(4)). The value itself is not corrected for small n. n < 2, a value that is not
    finite, or differences that are all equal (identical arms among them): NaN. n = 2 is defined,
    with the very wide interval of one degree of freedom.
    """
    check_level(alpha)
    a, b = paired_samples(a, b)
    n = len(a)
    if n < 2 or not np.isfinite([a, b]).all():
        return NOT_ESTIMABLE
    difference = a - b
    if is_constant(difference, scale=np.max(np.abs([a, b]))):
        return NOT_ESTIMABLE
    d_z = float(np.mean(difference) / np.std(difference, ddof=1))
    low, high = _noncentral_interval(d_z * np.sqrt(n), n - 1, alpha)
    return Effect(d_z, low / np.sqrt(n), high / np.sqrt(n))


def hedges_g(a: ArrayLike, b: ArrayLike, alpha: float = 0.05) -> Effect:
    """Hedges' g = J · (mean(a) − mean(b)) / pooled sd with its 1 − α interval.

    a, b: shapes (n_a,), (n_b,), taken as independent with one variance. J = Γ(m/2) / (√(m/2)
    Γ((m−1)/2)), m = n_a + n_b − 2, removes the bias at small n exactly (Hedges 1981, J. Educ.
    Stat. 6(2)). The interval inverts the noncentral t of d and is scaled by J (Hedges &
    Olkin 1985, ch. 5). Fewer than two values in an arm, a value that is not finite, or two arms
    without variance: NaN.
    """
    check_level(alpha)
    a, b = as_sample(a, "a"), as_sample(b, "b")
    both = np.concatenate([a, b])
    if min(len(a), len(b)) < 2 or not np.isfinite(both).all():
        return NOT_ESTIMABLE
    scale = np.max(np.abs(both))
    if is_constant(a, scale) and is_constant(b, scale):
        return NOT_ESTIMABLE
    df = len(a) + len(b) - 2
    pooled = np.sqrt(((len(a) - 1) * np.var(a, ddof=1) + (len(b) - 1) * np.var(b, ddof=1)) / df)
    d = float((np.mean(a) - np.mean(b)) / pooled)
    unit = np.sqrt(1 / len(a) + 1 / len(b))  # d / unit is the pooled t statistic
    low, high = _noncentral_interval(d / unit, df, alpha)
    j = small_sample_factor(df)
    return Effect(j * d, j * low * unit, j * high * unit)


def small_sample_factor(df: int) -> float:
    """Hedges' J(df), the exact factor that makes d unbiased; df ≥ 2 (Hedges 1981)."""
    if df < 2:
        raise ValueError(f"df must be at least 2, not {df}.")
    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def _noncentral_interval(t: float, df: int, alpha: float) -> tuple[float, float]:
    return noncentrality(t, df, 1 - alpha / 2), noncentrality(t, df, alpha / 2)
