"""What a tuning budget of k trials is expected to find, from the scores of n ≥ k trials.

There are two ways of sampling from the n observed scores:

* *Without replacement*, the default: the mean over all subsets of k trials. It is unbiased for
  trials that were drawn at random (Tang et al. 2020, arXiv 2004.13705). For a grid it is the mean
  result of searching a random subset of the declared grid.
* *With replacement*: the estimate of Dodge et al. 2019 (arXiv 1909.03004), which treats the
  observed scores as the whole distribution. Its estimate of the lowest loss is too high, most of
  all for k near n, where it misses the best trial with probability (1 − 1/n)^k.

The scores are the ones by which the best trial was chosen, so the lowest score is too optimistic;
it does not replace the loss on the reporting seeds. A diverged trial has the score +inf.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.bootstrap import RESAMPLES, percentile_interval, resampled
from muonlab.statistics.intervals import as_sample, check_level

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class BestOfK:
    """The lowest of k scores.

    `expected` is infinite if all k trials may have diverged; `p_diverged` is the probability of
    that. `median` and `sd` describe the result of a single search of k trials. `low` and `high` are
    the 1 − α percentile bootstrap interval of `expected` over trials, NaN for fewer than two
    trials.
    """

    k: int
    n: int
    expected: float
    sd: float
    median: float
    low: float
    high: float
    p_diverged: float


def best_weights(n: int, ks: ArrayLike, replace: bool = False) -> np.ndarray:
    """P(the best of k trials is the i-th lowest of n), shape (len(ks), n).

    This is C(n − i, k − 1) / C(n, k) without replacement and ((n − i + 1)/n)^k − ((n − i)/n)^k
    with replacement (Dodge et al. 2019, here for the lowest score). Raises ValueError unless 1 ≤ k
    and, without replacement, k ≤ n.
    """
    k = np.atleast_1d(np.asarray(ks))[:, None]
    if k.size and (k.min() < 1 or (k.max() > n and not replace)):
        at_most = "" if replace else f" and at most the number of trials ({n})"
        raise ValueError(f"k must be at least 1{at_most}, not {k.ravel().tolist()}.")
    i = np.arange(1, n + 1)
    if replace:
        return ((n - i + 1) / n) ** k - ((n - i) / n) ** k
    # Each weight is computed from the one before it, so that no binomial coefficient overflows.
    ratios = np.maximum(n - i[:-1] - k + 1, 0) / (n - i[:-1])
    return np.cumprod(np.concatenate([k / n, ratios], axis=1), axis=1)


def expected_best(scores: ArrayLike, ks: ArrayLike, replace: bool = False) -> np.ndarray:
    """The expected lowest of k of the n scores, shape (len(ks),); see `best_weights`.

    The result is infinite if all k may have diverged. A score that is NaN counts as +inf; −inf
    raises ValueError.
    """
    ordered = _ordered(scores)
    return _expected(ordered[None, :], best_weights(len(ordered), ks, replace))[0]


def best_of_k(
    scores: ArrayLike,
    ks: Sequence[int] | None = None,
    alpha: float = 0.05,
    replace: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[BestOfK]:
    """One record for each budget k (default: 1 to n) of a search with these n scores.

    The interval assumes independent trials. It is too narrow for k near n, because a bootstrap
    cannot draw a better trial than the best one observed. Without scores there are no records.
    """
    check_level(alpha)
    ordered = _ordered(scores)
    n = len(ordered)
    ks = list(range(1, n + 1)) if ks is None else list(ks)
    if not ks:
        return []
    weights = best_weights(n, ks, replace)
    expected = _expected(ordered[None, :], weights)[0]
    low, high = _band(ordered, weights, alpha, resamples, seed)
    medians = ordered[np.argmax(np.cumsum(weights, axis=1) >= 0.5 - 1e-12, axis=1)]
    diverged = weights @ np.isinf(ordered)
    sds = [_sd(ordered, w, mean) for w, mean in zip(weights, expected, strict=True)]
    columns = (expected, sds, medians, low, high, diverged)
    return [
        BestOfK(int(k), n, *map(float, row))
        for k, row in zip(ks, zip(*columns, strict=True), strict=True)
    ]


def best_of_k_table(scores: Mapping[str, ArrayLike], **options) -> "pd.DataFrame":
    """One row per arm and budget: the arm and the fields of `BestOfK`. `scores` maps each arm to
    the scores of its trials."""
    import pandas as pd

    rows = [
        {"arm": arm, **vars(best)}
        for arm, of in scores.items()
        for best in best_of_k(of, **options)
    ]
    return pd.DataFrame(rows, columns=["arm", *BestOfK.__dataclass_fields__])


def _ordered(scores: ArrayLike) -> np.ndarray:
    sample = as_sample(scores, "scores")
    sample = np.where(np.isnan(sample), np.inf, sample)
    if np.isneginf(sample).any():
        raise ValueError("scores must not be −inf: a diverged trial is +inf.")
    return np.sort(sample)


def _expected(ordered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ weight · score of sorted scores (…, n), shape (…, len(weights)), where 0 · inf counts as
    0."""
    infinite = np.isinf(ordered)
    finite_part = np.where(infinite, 0.0, ordered) @ weights.T
    return np.where(infinite.astype(float) @ weights.T > 0, np.inf, finite_part)


def _band(
    ordered: np.ndarray, weights: np.ndarray, alpha: float, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if len(ordered) < 2:
        nothing = np.full(len(weights), np.nan)
        return nothing, nothing
    drawn = np.sort(resampled(len(ordered), resamples, seed, "best-of-k"), axis=1)
    return percentile_interval(_expected(ordered[drawn], weights), alpha)


def _sd(ordered: np.ndarray, weights: np.ndarray, mean: float) -> float:
    if np.isinf(mean):
        return np.nan
    possible = weights > 0
    return float(np.sqrt(weights[possible] @ (ordered[possible] - mean) ** 2))
