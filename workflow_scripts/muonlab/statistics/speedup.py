"""How much sooner an arm reaches its final loss than a baseline does, with an interval over seeds.

The speed-up is the steps (tokens, seconds) after which the baseline's loss curve reaches the arm's
final loss, divided by those that the arm took. Both curves are means over the same seeds. A loss
that was never reached takes infinitely long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.bootstrap import RESAMPLES, percentile_interval, seed_counts, weighted_means
from muonlab.statistics.intervals import check_level
from muonlab.statistics.run_table import check_known

if TYPE_CHECKING:
    import pandas as pd

SUSPICIOUS = 1.6  # against a well-tuned baseline, larger speed-ups are unlikely
WARNING = "check the baseline's tuning"


@dataclass(frozen=True)
class SpeedUp:
    """How many times sooner, over n paired seeds, with its 1 − α percentile bootstrap interval.

    It is infinite if the baseline never reached the loss; the true value is then above
    `measurable`, the largest ratio that the baseline's length could show. It is 0 if the other
    arm's final loss is not finite. `reached` is the share of resamples in which the baseline
    reached the loss. The limits are NaN for n < 2.
    """

    n: int
    ratio: float
    low: float
    high: float
    reached: float
    measurable: float
    warning: str


def time_to(x: ArrayLike, losses: ArrayLike, target: ArrayLike) -> np.ndarray:
    """When each curve first is at or under its target, in the unit of x; +inf if never.

    x, losses: shape (..., m), in the order of x; target: shape (...). The curve is its running
    minimum, linear between two records. A loss that is not finite counts as +inf, and x need
    not be known there.
    """
    losses = np.asarray(losses, dtype=np.float64)
    envelope = np.minimum.accumulate(np.where(np.isfinite(losses), losses, np.inf), axis=-1)
    x = np.broadcast_to(np.asarray(x, dtype=np.float64), envelope.shape)
    target = np.asarray(target, dtype=np.float64)[..., None]
    under = envelope <= target
    after = np.argmax(under, axis=-1)[..., None]
    before = np.maximum(after - 1, 0)
    above, below = (np.take_along_axis(envelope, i, -1) for i in (before, after))
    start, end = (np.take_along_axis(x, i, -1) for i in (before, after))
    # There is no interpolation from a loss that was not finite: the first finite record counts.
    line = (after > 0) & np.isfinite(above) & (above > below)
    with np.errstate(invalid="ignore"):
        share = np.divide(above - target, above - below, out=np.ones(above.shape), where=line)
    reached_at = np.where(line, start + share * (end - start), end)
    return np.where(under.any(axis=-1), reached_at[..., 0], np.inf)


def speed_up(
    baseline_x: ArrayLike,
    baseline_losses: ArrayLike,
    final_x: ArrayLike,
    final_losses: ArrayLike,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SpeedUp:
    """Steps, tokens or seconds that the baseline needs over those that the other arm took.

    baseline_x: (m,) or (n, m), rising; baseline_losses: (n, m); final_x: scalar or (n,), what
    the other arm had used at its end; final_losses: (n,), its loss there. Seeds are paired by
    position and drawn together. With fewer than about ten seeds the interval is too narrow, as with
    every bootstrap. ValueError: shapes that do not match, and a final x that is not positive.
    """
    check_level(alpha)
    x, losses, final_x, finals = _checked(baseline_x, baseline_losses, final_x, final_losses)
    n = len(losses)
    ratio = float(_ratios(np.full((1, n), 1.0), x, losses, final_x, finals)[0])
    low, high, reached = np.nan, np.nan, float(np.isfinite(ratio))
    if n > 1:
        counts = seed_counts(n, resamples, seed, "speed-up")
        ratios = _ratios(counts, x, losses, final_x, finals)
        low, high = map(float, percentile_interval(ratios, alpha))
        reached = float(np.mean(np.isfinite(ratios)))
    measurable = float(np.mean(np.nanmax(x, axis=1)) / np.mean(final_x))
    return SpeedUp(n, ratio, low, high, reached, measurable, WARNING if ratio >= SUSPICIOUS else "")


def speed_up_table(
    curves: "pd.DataFrame",
    pairs: Sequence[tuple[str, str]],
    units: Sequence[str] = ("step",),
    **options,
) -> "pd.DataFrame":
    """One row per pair (arm, baseline) and unit: arm, baseline, unit, and the fields of `SpeedUp`.

    `curves` has the columns arm, seed, step, loss and one for each of `units`: one row per run
    and evaluation. A run that has no row at a step of its arm's other runs, for example because it
    stopped early, has the loss +inf at that step. `options` are those of `speed_up`. ValueError: a
    missing column, an unknown arm, two rows of one run and step, seeds that only one arm has.
    """
    import pandas as pd

    check_known("column", {"arm", "seed", "step", "loss", *units}, curves.columns)
    rows = []
    for arm, baseline in pairs:
        check_known("arm", (arm, baseline), set(curves["arm"]))
        for unit in units:
            x, losses, seeds = _curves_of(curves, baseline, unit)
            other_x, other_losses, others = _curves_of(curves, arm, unit)
            if seeds != others:
                alone = ", ".join(map(str, sorted(set(seeds) ^ set(others))))
                raise ValueError(f"arms {arm!r} and {baseline!r} do not pair by seed: {alone}.")
            found = speed_up(x, losses, np.nanmax(other_x, axis=1), other_losses[:, -1], **options)
            rows.append({"arm": arm, "baseline": baseline, "unit": unit, **vars(found)})
    columns = ["arm", "baseline", "unit", *SpeedUp.__dataclass_fields__]
    return pd.DataFrame(rows, columns=columns)


def _ratios(
    counts: np.ndarray, x: np.ndarray, losses: np.ndarray, final_x: np.ndarray, finals: np.ndarray
) -> np.ndarray:
    """The speed-up of each resample, (r,); counts (r, n) says how often it contains each seed."""
    target = weighted_means(counts, finals[:, None])[:, 0]
    taken = time_to(weighted_means(counts, x), weighted_means(counts, losses), target)
    ratios = taken / weighted_means(counts, final_x[:, None])[:, 0]
    return np.where(np.isinf(target), 0.0, ratios)


def _checked(x: ArrayLike, losses: ArrayLike, final_x: ArrayLike, finals: ArrayLike) -> tuple:
    x, losses, final_x, finals = (
        np.asarray(values, dtype=np.float64) for values in (x, losses, final_x, finals)
    )
    if losses.ndim != 2 or 0 in losses.shape or finals.shape != losses.shape[:1]:
        raise ValueError(
            f"the baseline's losses must be of shape (n, m) and the final ones of shape (n,), not "
            f"{losses.shape} and {finals.shape}."
        )
    if x.shape not in (losses.shape, losses.shape[1:]) or final_x.shape not in ((), finals.shape):
        raise ValueError(f"x of shape {x.shape} and {final_x.shape} does not fit the losses.")
    if not (np.isfinite(final_x).all() and (final_x > 0).all()):
        raise ValueError("the other arm's final x must be positive.")
    return (
        np.broadcast_to(x, losses.shape),
        losses,
        np.broadcast_to(final_x, finals.shape),
        finals,
    )


def _curves_of(curves: "pd.DataFrame", arm: str, unit: str) -> tuple[np.ndarray, np.ndarray, list]:
    """x and loss of an arm's runs, (n, m) over all steps of any run, and their seeds, sorted."""
    rows = curves[curves["arm"] == arm]
    if rows.duplicated(["seed", "step"]).any():
        raise ValueError(f"the curves of arm {arm!r} have two rows for one seed and step.")
    by_run = rows.set_index(["seed", "step"], drop=False).sort_index()
    losses = by_run["loss"].unstack("step")
    x = by_run[unit].unstack("step").to_numpy(dtype=np.float64)
    return x, losses.to_numpy(dtype=np.float64), list(losses.index)
