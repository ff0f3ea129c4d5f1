"""The percentile bootstrap, for numbers that may be infinite."""

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.intervals import RESOLUTION, check_level
from muonlab.streams import numpy_generator

RESAMPLES = 2000


def resampled(n: int, resamples: int, seed: int, *names: str) -> np.ndarray:
    """Indices (resamples, n) drawn with replacement from n, from the stream `names` of `seed`."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}.")
    generator = numpy_generator(seed, "bootstrap", *names)
    return generator.integers(0, n, (resamples, n))


def seed_counts(n: int, resamples: int, seed: int, *names: str) -> np.ndarray:
    """How often each resample contains each of n seeds, (resamples, n), from the same stream."""
    drawn = resampled(n, resamples, seed, *names)
    return np.stack([(drawn == i).sum(axis=1) for i in range(n)], axis=1).astype(float)


def weighted_means(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over seeds (r, m) of values (n, m), each seed counted as often as the resample has it,
    counts (r, n); +inf where the value of a seed in it is not finite."""
    bad = ~np.isfinite(values)
    means = counts @ np.where(bad, 0.0, values) / counts.sum(axis=1, keepdims=True)
    return np.where(counts @ bad > 0, np.inf, means) if bad.any() else means


def percentile_interval(values: ArrayLike, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """The α/2 and 1 − α/2 quantiles of `values` over its first axis (Efron 1979).

    Each end leaves out as many values as fit into α/2 of the sample, so that the interval of the
    negated values is the negated interval. The ends are values of the sample and not means of two
    values, since a finite value and infinity have no mean. Inf ranks last. Both ends are NaN if any
    value is NaN, and if all values are finite and equal, since zero spread does not mean precision.
    If all values are infinite, both ends are infinite.
    """
    check_level(alpha)
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=0)
    n = len(ordered)
    low = min(int(alpha / 2 * n + 1e-9), (n - 1) // 2)  # 1e-9 for rounding
    high = n - 1 - low
    lowest, highest = ordered[0], ordered[-1]
    with np.errstate(invalid="ignore"):  # inf − inf, of which `agree` is False
        agree = highest - lowest <= RESOLUTION * np.maximum(np.abs(lowest), np.abs(highest))
    unknown = np.isnan(highest) | (agree & np.isfinite(lowest) & np.isfinite(highest))
    return np.where(unknown, np.nan, ordered[low]), np.where(unknown, np.nan, ordered[high])
