"""Whether the extra cost of a step is paid back by the steps that it saves.

Seconds to a loss are the steps to it times the seconds of a step. Steps differ from seed to seed
and are paired by seed. Seconds of a step come from rounds in which both arms were timed, and are
paired by round. Each resample draws both anew, so that the interval includes the noise of both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.bootstrap import RESAMPLES, percentile_interval, resampled
from muonlab.statistics.intervals import as_sample, check_level

# An overhead under LOW of a step is low, above HIGH it is high, between them medium.
LOW, HIGH = 0.05, 0.20
LEVELS = ("low", "medium", "high")


@dataclass(frozen=True)
class Share:
    """A part of a step as a share of the whole: a ratio of medians over n rounds, with its 1 − α
    interval over resampled rounds; the limits are NaN if the rounds do not differ."""

    n: int
    value: float
    low: float
    high: float

    @property
    def level(self) -> str:
        """One of LEVELS if the whole interval lies in its range, `none` if the step has no such
        part, else `undecided` or `not estimable`."""
        if self.value == 0:
            return "none"
        if np.isnan(self.low) or np.isnan(self.high):
            return "not estimable"
        below, above = (LEVELS[(x >= LOW) + (x > HIGH)] for x in (self.low, self.high))
        return below if below == above else "undecided"


@dataclass(frozen=True)
class CostBenefit:
    """The arm compared with the baseline over n paired seeds: mean steps and seconds to the loss
    (inf if a seed never reached it), and the time that the arm saves, in seconds and as a share of
    the baseline's, with 1 − α percentile intervals.

    `cost` is the arm's step time over the baseline's. The arm saves time as long as `cost` is below
    `break_even`, the ratio of the steps. `verdict` says whether the arm saves time.
    """

    n: int
    steps: float
    baseline_steps: float
    cost: float
    cost_low: float
    cost_high: float
    break_even: float
    break_even_low: float
    break_even_high: float
    seconds: float
    baseline_seconds: float
    saved: float
    saved_low: float
    saved_high: float
    verdict: str


def share(part: ArrayLike, whole: ArrayLike, alpha: float = 0.05, seed: int = 0) -> Share:
    """The median of `part` over that of `whole`, seconds of the same rounds, each (rounds,)."""
    check_level(alpha)
    part, whole = as_sample(part, "part"), as_sample(whole, "whole")
    value = float(np.median(part) / np.median(whole))
    drawn = resampled(len(part), RESAMPLES, seed, "share")
    ratios = np.median(part[drawn], axis=1) / np.median(whole[drawn], axis=1)
    low, high = percentile_interval(ratios, alpha)
    return Share(len(part), value, float(low), float(high))


def cost_benefit(
    steps: ArrayLike,
    baseline_steps: ArrayLike,
    step_seconds: ArrayLike,
    baseline_step_seconds: ArrayLike,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CostBenefit:
    """`steps` and `baseline_steps`: (seeds,), to the same loss, inf if never; `step_seconds` and
    `baseline_step_seconds`: (rounds,). With fewer than two seeds, or if neither arm reached the
    loss, there is no interval and no verdict. ValueError for lengths that do not pair."""
    check_level(alpha)
    a, b = as_sample(steps, "steps"), as_sample(baseline_steps, "baseline_steps")
    t, u = as_sample(step_seconds, "step_seconds"), as_sample(baseline_step_seconds)
    if len(a) != len(b) or len(t) != len(u) or not len(a) or not len(t):
        raise ValueError(
            f"seeds and rounds must pair, not {len(a)} with {len(b)} and {len(t)} with {len(u)}."
        )
    rounds = resampled(len(t), resamples, seed, "rounds")
    times = np.median(t[rounds], axis=1), np.median(u[rounds], axis=1)
    middle = float(np.median(t)), float(np.median(u))
    mean = float(a.mean()), float(b.mean())
    with np.errstate(invalid="ignore"):  # inf − inf and inf / inf are NaN: unknown
        seeds = resampled(len(a), resamples, seed, "seeds")
        drawn = a[seeds].mean(axis=1), b[seeds].mean(axis=1)
        saved = drawn[1] * times[1] - drawn[0] * times[0]
        total = mean[0] * middle[0], mean[1] * middle[1]
        unknown = np.full(2, np.nan)
        several = len(a) > 1 and not (np.ptp(a) == 0 and np.ptp(b) == 0)
        # Seeds that all agree exactly show that steps are coarse, not that they are precise.
        interval = percentile_interval(saved, alpha) if several else unknown
        even = percentile_interval(drawn[1] / drawn[0], alpha) if several else unknown
        ratio = float(np.divide(mean[1], mean[0]))
        gain = total[1] - total[0]
    low, high = map(float, interval)
    return CostBenefit(
        len(a),
        *mean,
        middle[0] / middle[1],
        *map(float, percentile_interval(times[0] / times[1], alpha)),
        ratio,
        *map(float, even),
        *total,
        gain,
        low,
        high,
        _verdict(low, high),
    )


def _verdict(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "not estimable"
    return "saves time" if low > 0 else "costs time" if high < 0 else "undecided"
