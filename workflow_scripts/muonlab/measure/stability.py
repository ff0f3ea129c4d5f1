"""How steadily a run trained, from its recorded series.

A series is a pair of arrays (steps, values) of one length n ≥ 0, steps increasing; windows are
counted in records, not in steps. No function here smooths; pass a smoothed series if you want one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW = 50  # records
# Windows that scale with a run: rolling ones, and the end of the run, as shares of its records. A
# window never has fewer than LEAST records.
ROLLING, END, LEAST = 0.05, 0.2, 5
SPIKE_SIGMAS = 3.0
VANISHING, EXPLODING = 1e-7, 1e3  # gradient norms below and above these are counted as alarms

Floats = NDArray[np.float64]


def window_of(records: int, share: float = ROLLING) -> int:
    """The number of records in a window that is `share` of a run of so many records; ≥ LEAST."""
    return max(LEAST, round(share * records))


def end_variance(values: ArrayLike) -> float:
    """Median of the rolling variances whose windows end in the last END of the series.

    The rolling window is ROLLING of the series, so that a slow trend hardly enters. NaN where no
    window is full, or where one holds a value that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    variance = rolling_variance(values, window_of(len(values)))
    last = variance[-max(1, round(END * len(values))) :]
    return float(np.median(last)) if len(last) else np.nan


def end_variation(values: ArrayLike) -> float:
    """Standard deviation over mean of the last END of the series, at least LEAST values.

    NaN for a shorter series, for a value there that is not finite, and for a mean of 0.
    """
    values = np.asarray(values, dtype=np.float64)
    last = values[-window_of(len(values), END) :]
    if len(last) < LEAST or not np.isfinite(last).all() or last.mean() == 0:
        return np.nan
    return float(last.std(ddof=1) / last.mean())


def first_at_or_after(steps: ArrayLike, values: ArrayLike, share: float) -> tuple[float, float]:
    """(step, value) of the first record at or after that share of the series' last step.

    NaN for an empty series. Nothing is interpolated between two records. Raises ValueError for
    arrays of unequal length.
    """
    steps, values = _paired(steps, values)
    if not len(steps):
        return np.nan, np.nan
    place = int(np.argmax(steps >= share * steps[-1] * (1 - 1e-12)))
    return float(steps[place]), float(values[place])


def rolling_variance(values: ArrayLike, window: int = WINDOW) -> Floats:
    """Sample variance (n,) of each value and the window − 1 before it, with window − 1 degrees of
    freedom.

    NaN where the window is not full or holds a value that is not finite. Each window is summed
    anew, so that neither a large mean nor an earlier NaN affects it. Raises ValueError for
    window < 2.
    """
    values = _checked(values, window)
    variance = np.full(len(values), np.nan)
    if len(values) >= window:
        with np.errstate(invalid="ignore"):
            variance[window - 1 :] = _windows(values, window).var(axis=-1, ddof=1)
    return variance


def loss_spikes(
    losses: ArrayLike, window: int = WINDOW, sigmas: float = SPIKE_SIGMAS
) -> NDArray[np.bool_]:
    """Whether each loss is more than `sigmas` sample standard deviations above the mean of the
    `window` losses before it: (n,).

    The loss itself is not part of its window, since it would raise both mean and deviation. There
    is no spike before a window is full, for NaN, or where the window holds a value that is not
    finite; +∞ after a finite window is a spike. Rounding of the mean is allowed for, so that equal
    losses have no spike. Raises ValueError for window < 2.
    """
    losses = _checked(losses, window)
    spikes = np.zeros(len(losses), dtype=bool)
    if len(losses) > window:
        before = _windows(losses, window)[:-1]
        with np.errstate(invalid="ignore"):
            mean, deviation = before.mean(axis=-1), before.std(axis=-1, ddof=1)
            rounding = window * np.finfo(float).eps * np.abs(mean)
            spikes[window:] = losses[window:] > mean + sigmas * deviation + rounding
    return spikes


def convergence_rate(steps: ArrayLike, losses: ArrayLike) -> tuple[float, float]:
    """Slope of log loss on steps by least squares, per step, and its standard error.

    −1e-3 means that the loss falls by about 0.1 % a step. Losses that are not finite and positive
    have no logarithm and are left out. With fewer than two points both results are NaN, with two
    the error is. The error takes the points' deviations as independent; those of a loss curve are
    not, so the true error is larger. Raises ValueError for arrays of unequal length.
    """
    steps, losses = _paired(steps, losses)
    usable = np.isfinite(losses) & (losses > 0)
    t, y = steps[usable], np.log(losses[usable])
    if len(t) < 2:
        return np.nan, np.nan
    t, y = t - t.mean(), y - y.mean()
    spread = t @ t
    slope = (t @ y) / spread
    if len(t) < 3:
        return float(slope), np.nan
    residual = y - slope * t
    return float(slope), float(np.sqrt((residual @ residual) / (len(t) - 2) / spread))


def first_crossings(steps: ArrayLike, losses: ArrayLike, milestones: Sequence[float]) -> Floats:
    """The first recorded step (m,) at which the loss is at or under each milestone; ∞ if never.

    Multiplied by the tokens of a step, it gives the tokens to the milestone. Raises ValueError for
    arrays of unequal length.
    """
    steps, losses = _paired(steps, losses)
    reached = losses[None, :] <= np.asarray(milestones, dtype=np.float64)[:, None]  # NaN: never
    crossings = np.full(len(milestones), np.inf)
    ever = reached.any(axis=1)
    if ever.any():
        crossings[ever] = steps[reached[ever].argmax(axis=1)]
    return crossings


def mean_over_steps(steps: ArrayLike, values: ArrayLike) -> float:
    """Area under the curve (trapezoids) over the steps that it spans: the mean value over the run.

    NaN for fewer than two points, and if any value is NaN. Raises ValueError for arrays of unequal
    length.
    """
    steps, values = _paired(steps, values)
    if len(steps) < 2:
        return np.nan
    with np.errstate(invalid="ignore"):
        return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def gradient_alarms(norms: ArrayLike) -> dict[str, int]:
    """How many gradient norms are `vanishing` (< 1e-7), `exploding` (> 1e3), `nonfinite`; +∞ counts
    as exploding and as non-finite."""
    norms = np.asarray(norms, dtype=np.float64)
    return {
        "vanishing": int((norms < VANISHING).sum()),
        "exploding": int((norms > EXPLODING).sum()),
        "nonfinite": int((~np.isfinite(norms)).sum()),
    }


def stability(
    steps: ArrayLike,
    losses: ArrayLike,
    gradient_norms: ArrayLike,
    window: int | None = None,
) -> dict[str, float]:
    """A run's steadiness in one record, from losses and gradient norms recorded at the same steps.

    `window` is that of the rolling variances and of the spikes; None takes ROLLING of the run.

    `*_variance` is the median over the run of the rolling variance, which a steep start hardly
    affects, and `*_variance_end` its last value; both are NaN if no window is full and finite.
    `loss_spikes`, the `gradients_*` of `gradient_alarms` and `nonfinite_losses` are counts;
    `convergence_rate_error` belongs to `convergence_rate`; `mean_loss` is the mean over steps.
    Raises ValueError for arrays of unequal length or window < 2.
    """
    steps, losses = _paired(steps, losses)
    _, gradient_norms = _paired(steps, gradient_norms)
    window = window_of(len(losses)) if window is None else window
    rate, error = convergence_rate(steps, losses)
    found = {
        "loss_spikes": int(loss_spikes(losses, window).sum()),
        "nonfinite_losses": int((~np.isfinite(losses)).sum()),
        "convergence_rate": rate,
        "convergence_rate_error": error,
        "mean_loss": mean_over_steps(steps, losses),
    }
    for name, values in (("loss", losses), ("gradient_norm", gradient_norms)):
        variance = rolling_variance(values, window)
        known = variance[np.isfinite(variance)]
        found[f"{name}_variance"] = float(np.median(known)) if len(known) else np.nan
        found[f"{name}_variance_end"] = float(variance[-1]) if len(variance) else np.nan
    alarms = gradient_alarms(gradient_norms)
    return found | {f"gradients_{name}": count for name, count in alarms.items()}


def _windows(values: Floats, window: int) -> Floats:
    """(n − window + 1, window) windows of (n,) values, a view."""
    return np.lib.stride_tricks.sliding_window_view(values, window)


def _checked(values: ArrayLike, window: int) -> Floats:
    if window < 2:
        raise ValueError(f"a rolling window needs at least 2 records, not {window}")
    return np.asarray(values, dtype=np.float64)


def _paired(steps: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    steps, values = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if steps.shape != values.shape or steps.ndim != 1:
        raise ValueError(
            f"a series needs one value for each step, not {steps.shape} steps and "
            f"{values.shape} values"
        )
    return steps, values
