"""How long a baseline must train to end as low as another arm does.

The baseline is run at several lengths, each with its own whole schedule, and its final loss is a
function of its length. A curve of one run cannot show that: at an earlier step its learning rate
has not decayed yet, so it flatters whoever is compared with it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.bootstrap import RESAMPLES, percentile_interval, seed_counts, weighted_means
from muonlab.statistics.intervals import check_level, mean_interval
from muonlab.statistics.speedup import SUSPICIOUS, WARNING, time_to

NO_LOWER = "none of its longer runs is shown to end lower, so more steps may not help it"


@dataclass(frozen=True)
class LengthRatio:
    """The length at which the baseline ends at the arm's final loss, over the arm's length.

    `low` and `high` are its 1 − α percentile bootstrap interval over n paired seeds. `shortest` and
    `longest` are the ratios of the lengths that were run. The ratio is +inf above `longest` (the
    baseline never ended so low) and 0 below `shortest` (it did already at its shortest length):
    more is not known there. NaN if the arm diverged on a seed, and the limits for n < 2.
    """

    n: int
    ratio: float
    low: float
    high: float
    shortest: float
    longest: float
    warning: str


def length_ratio(
    x: ArrayLike,
    losses: ArrayLike,
    arm_x: ArrayLike,
    arm_losses: ArrayLike,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LengthRatio:
    """Inverts the baseline's mean final loss, linear in the logarithm of the length between the
    lengths that were run, at the arm's mean final loss. A suspicious ratio comes with a warning,
    which also tells if none of the baseline's longer runs is shown to end lower than its shortest:
    if no 1 − α interval of their paired difference lies below 0.

    x: (n, k), what the baseline's run of each seed and length had used at its end (steps, tokens,
    seconds), its means rising with the length; losses: (n, k), its final losses; arm_x and
    arm_losses: (n,), of the arm. Seeds are paired by position and drawn together. Where a longer
    run ends higher than a shorter one, the shorter one counts. ValueError for other shapes and for
    lengths that do not rise.
    """
    check_level(alpha)
    x, losses, arm_x, arm_losses = (
        np.asarray(values, dtype=np.float64) for values in (x, losses, arm_x, arm_losses)
    )
    _check(x, losses, arm_x, arm_losses)
    n = len(losses)
    used, taken = x.mean(axis=0), float(arm_x.mean())
    shortest, longest = float(used[0] / taken), float(used[-1] / taken)
    if not np.isfinite(arm_losses).all():
        return LengthRatio(n, np.nan, np.nan, np.nan, shortest, longest, "")
    ratio = float(_ratios(np.ones((1, n)), x, losses, arm_x, arm_losses)[0])
    low = high = np.nan
    if n > 1:
        counts = seed_counts(n, resamples, seed, "lengths")
        ratios = _ratios(counts, x, losses, arm_x, arm_losses)
        low, high = map(float, percentile_interval(ratios, alpha))
    warning = _warning(losses, alpha) if ratio >= SUSPICIOUS else ""
    return LengthRatio(n, ratio, low, high, shortest, longest, warning)


def _warning(losses: np.ndarray, alpha: float) -> str:
    """The warning of a suspicious ratio; losses: (n, k), those of the shortest runs first."""
    if losses.shape[1] == 1:
        return WARNING
    with np.errstate(invalid="ignore"):  # runs that diverged at both lengths
        longer_less_shortest = (losses[:, 1:] - losses[:, :1]).T
    lower = any(mean_interval(change, alpha).high < 0 for change in longer_less_shortest)
    return WARNING if lower else f"{WARNING}; {NO_LOWER}"


def _ratios(
    counts: np.ndarray, x: np.ndarray, losses: np.ndarray, arm_x: np.ndarray, finals: np.ndarray
) -> np.ndarray:
    """The ratio of each resample (r,); counts (r, n) says how often it contains each seed."""
    used, target = weighted_means(counts, x), weighted_means(counts, finals[:, None])[:, 0]
    means = weighted_means(counts, losses)
    reached = np.exp(time_to(np.log(used), means, target))
    below = means[:, 0] < target
    return np.where(below, 0.0, reached / weighted_means(counts, arm_x[:, None])[:, 0])


def _check(x: np.ndarray, losses: np.ndarray, arm_x: np.ndarray, arm_losses: np.ndarray) -> None:
    if losses.ndim != 2 or 0 in losses.shape or x.shape != losses.shape:
        raise ValueError(
            f"lengths and final losses must both be of shape (n, k), not {x.shape} and "
            f"{losses.shape}."
        )
    if arm_x.shape != losses.shape[:1] or arm_losses.shape != losses.shape[:1]:
        raise ValueError(
            f"the arm needs one length and one loss for each of {len(losses)} seeds, not shapes "
            f"{arm_x.shape} and {arm_losses.shape}."
        )
    if not (np.isfinite(x).all() and (x > 0).all() and np.isfinite(arm_x).all()):
        raise ValueError("lengths must be finite and positive.")
    if not ((np.diff(x.mean(axis=0)) > 0).all() and (arm_x > 0).all()):
        raise ValueError("the baseline's lengths must rise, and the arm's be positive.")
