"""Intervals of a mean, and the inversion of the noncentral t that effect sizes and power need.

Three rules hold in the whole package:

* **No number without a basis.** What cannot be estimated is NaN, and `estimable` is False: this is
  so for fewer than two values, a value that is not finite, or a sample without any variance.
* **A diverged run is a non-finite value** (NaN or ±inf, missing values included). It is counted,
  never dropped, and makes every mean that it enters not estimable.
* **Zero variance is not precision.** Values that agree to the last digit (accuracy on few items,
  steps to a target on a grid of evaluations) show that the outcome is coarse, not that its error
  is zero: their mean is given, but its interval and its tests are not estimable.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

# A spread below this fraction of the values' own size is float64 rounding, not variance.
RESOLUTION = 1e-12

# Outside these |t| scipy's noncentral t loses digits or is NaN, and the limits hold to 1e-6:
# δ = −z for small t, δ = t·χ_df/√df for large t (quantiles).
_SMALL_T, _LARGE_T = 1e-7, 1e4


@dataclass(frozen=True)
class MeanInterval:
    """Mean of `n` values with its t interval, in the values' unit; NaN where not estimable."""

    n: int
    mean: float
    sd: float
    low: float
    high: float
    diverged: int

    @property
    def estimable(self) -> bool:
        """Whether the interval exists (two or more finite values that differ)."""
        return bool(np.isfinite(self.low))


def as_sample(values: ArrayLike, name: str = "values") -> np.ndarray:
    """`values` as a float64 array of shape (n,); ValueError when it is not a flat list."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {sample.shape}.")
    return sample


def check_level(alpha: float) -> None:
    """Raise ValueError unless alpha is a probability strictly between 0 and 1."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}.")


def count_diverged(values: ArrayLike) -> int:
    """Number of values that are not finite: a run that diverged or left no number."""
    return int(np.count_nonzero(~np.isfinite(as_sample(values))))


def is_constant(sample: np.ndarray, scale: float | None = None) -> bool:
    """Whether a finite sample has no spread beyond float64 rounding at magnitude `scale`.

    `scale` is the magnitude of the numbers the sample came from (the arms, for differences);
    default: the sample's own largest magnitude.
    """
    scale = np.max(np.abs(sample)) if scale is None else scale
    return bool(np.ptp(sample) <= RESOLUTION * scale)


def mean_interval(values: ArrayLike, alpha: float = 0.05) -> MeanInterval:
    """Mean ± t_{1−α/2, n−1} · sd/√n over `values` of shape (n,) (Student 1908).

    sd has the n − 1 divisor. n < 2 or a diverged value: mean, sd and interval are NaN.
    Zero variance: mean and sd = 0 are numbers, the interval is NaN.
    """
    check_level(alpha)
    sample = as_sample(values)
    n, diverged = len(sample), count_diverged(sample)
    if n < 2 or diverged:
        return MeanInterval(n, np.nan, np.nan, np.nan, np.nan, diverged)
    mean = float(np.mean(sample))
    if is_constant(sample):
        return MeanInterval(n, mean, 0.0, np.nan, np.nan, 0)
    sd = float(np.std(sample, ddof=1))
    low, high = (mean + q * (sd / np.sqrt(n)) for q in _t_quantiles(1 - alpha, n - 1))
    return MeanInterval(n, mean, sd, float(low), float(high), 0)


def intervals_by(
    values: ArrayLike, places: ArrayLike, alpha: float = 0.05
) -> dict[str, np.ndarray]:
    """`mean_interval` of the values at each place: its fields n, mean, sd, low, high and diverged
    as arrays of shape (m,), for places 0 … m − 1.

    values, places: shape (k,), the place of each value. Groups of one size are computed at once.
    """
    check_level(alpha)
    values, places = as_sample(values), np.asarray(places, dtype=np.intp)
    counts = np.bincount(places)
    found = {name: np.full(len(counts), np.nan) for name in ("mean", "sd", "low", "high")}
    diverged = np.bincount(places, weights=~np.isfinite(values), minlength=len(counts))
    ordered = values[np.argsort(places, kind="stable")]
    starts = np.cumsum(counts) - counts
    for n in np.unique(counts[counts >= 2]):
        here = np.flatnonzero((counts == n) & (diverged == 0))
        samples = ordered[starts[here, None] + np.arange(n)]
        for name, column in _row_intervals(samples, alpha).items():
            found[name][here] = column
    return {"n": counts, **found, "diverged": diverged.astype(np.intp)}


def _row_intervals(samples: np.ndarray, alpha: float) -> dict[str, np.ndarray]:
    """Means, deviations and intervals of rows of two or more finite values."""
    n = samples.shape[1]
    quantiles = _t_quantiles(1 - alpha, n - 1)
    mean, sd = samples.mean(axis=1), samples.std(axis=1, ddof=1)
    varied = np.ptp(samples, axis=1) > RESOLUTION * np.abs(samples).max(axis=1)
    sd = np.where(varied, sd, 0.0)
    ends = [np.where(varied, mean + q * (sd / np.sqrt(n)), np.nan) for q in quantiles]
    return {"mean": mean, "sd": sd, "low": ends[0], "high": ends[1]}


@cache
def _t_quantiles(level: float, df: int) -> tuple[float, float]:
    """The ends of the central interval of Student's t. They are remembered, because scipy takes
    half a millisecond for them and a study has thousands of intervals with the same ones."""
    low, high = stats.t.interval(level, df)
    return float(low), float(high)


def noncentrality(t: float, df: float, cumulative: float) -> float:
    """The noncentrality δ at which P(T ≤ t) = `cumulative`, T ~ noncentral t(df, δ).

    T = (Z + δ)/S with S² = χ²_df / df, and P falls as δ grows, so one root exists. It is
    bracketed by the union bound (for an error ε split in halves between Z and S) and refined on
    `scipy.special.nctdtr`, the function behind `scipy.stats.nct.cdf`, whose checks of arguments
    take longer than its value. (`scipy.special.nctdtrinc` is meant to be the same inverse, but in
    SciPy 1.17 is wrong by some percent where the cumulative is near 0 or 1; statsmodels' power
    solver stops at its default bounds without an error.)
    """
    check_level(cumulative)
    if t < 0:  # P(T ≤ t | δ) = 1 − P(T ≤ −t | −δ)
        return -noncentrality(-t, df, 1 - cumulative)
    if t < _SMALL_T:
        return float(-stats.norm.ppf(cumulative))
    tails = np.array([(1 - cumulative) / 2, 1 - cumulative / 2])
    if t > _LARGE_T:
        return float(t * np.sqrt(stats.chi2.ppf(1 - cumulative, df) / df))
    lowest, highest = t * np.sqrt(stats.chi2.ppf(tails, df) / df) + stats.norm.ppf(tails)
    root = optimize.brentq(
        lambda delta: special.nctdtr(df, delta, t) - cumulative, lowest, highest, xtol=1e-12
    )
    return float(root)
