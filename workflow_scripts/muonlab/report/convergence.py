"""How a run converged, in numbers of each run: shared by table, figure and sentences."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.measure import stability as steadiness
from muonlab.statistics.speedup import time_to

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
WHOLE = "whole"  # the split's name in metrics for the last evaluation, which reads all of it
REDUCTION = 0.9  # of the fall of the loss from the first evaluation to the last one
# The part of a run over which the convergence rate is fitted: after the steep start and, as a rule,
# before the learning rate has decayed much.
FITTED = (0.1, 0.5)
METRICS = {
    **{f"loss_at_{round(100 * share)}": f"loss at {share:.0%} of the run" for share in SHARES},
    "steps_to_90": "steps to 90 % of the fall",
    "early_convergence_rate": "convergence rate (% per step)",
    "loss_spikes_per_100": "spikes per 100 records",
    "loss_variance_last_fifth": "variance of the loss at the end",
    "gradient_variation_last_fifth": "variation of the gradient norm at the end",
}


def run_values(metrics: pd.DataFrame, study: Mapping) -> pd.DataFrame:
    """arm, seed, metric, value, at_step: one row for each run and each of METRICS.

    `metrics`: arm, seed, step, split, metric, value. `at_step` is the step at which a loss was
    read: the first evaluation at or after that share of the run. A run whose last loss is not
    finite has no values but its spikes.
    """
    split, rows = study["training"]["evaluate_on"], []
    kept = metrics[metrics.metric.isin(["loss", "gradient_norm"])]
    for (arm, seed), run in kept.groupby(["arm", "seed"], sort=False):
        evaluated = run[(run.split == split) & (run.metric == "loss")].sort_values("step")
        train = run[run.split == "train"].sort_values("step")
        losses, norms = (train[train.metric == name] for name in ("loss", "gradient_norm"))
        found = {**_evaluated(evaluated), **_trained(losses, norms)}
        whole = run[(run.split == WHOLE) & (run.metric == "loss")].value
        if len(whole):
            found["loss_at_100"] = float(whole.iloc[-1]), found["loss_at_100"][1]
        for metric in METRICS:
            value, step = found[metric]
            row = {"arm": arm, "seed": seed, "metric": metric, "value": value}
            rows.append(row | {"at_step": step})
    return pd.DataFrame(rows, columns=["arm", "seed", "metric", "value", "at_step"])


def evaluations(metrics: pd.DataFrame, study: Mapping, arms: Sequence[str]) -> dict:
    """(steps (m,), losses (seeds, m)) of each arm, seeds in rising order; a run that stopped early
    has NaN at the steps of the others."""
    own = metrics[(metrics.metric == "loss") & metrics.arm.isin(list(arms))]
    own = own[own.split == study["training"]["evaluate_on"]]
    curves = {}
    for arm, rows in own.groupby("arm", sort=False):
        table = rows.pivot(index="seed", columns="step", values="value").sort_index(axis=1)
        curves[arm] = table.columns.to_numpy(dtype=float), table.sort_index().to_numpy()
    return curves


def final_losses(metrics: pd.DataFrame, study: Mapping) -> dict[str, np.ndarray]:
    """The final losses (seeds,) of each arm, seeds in rising order: those of the whole split, and
    NaN for a run that did not come to its end."""
    losses = metrics[metrics.metric == "loss"]
    keys = ["arm", "seed"]
    whole = losses[losses.split == WHOLE].groupby(keys).value.last()
    runs = losses.groupby(keys).step.max().index
    whole = whole.reindex(runs)
    return {arm: own.to_numpy() for arm, own in whole.groupby(level="arm")}


def _evaluated(curve: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Losses at shares of the run, and the step by which most of the fall is done."""
    steps, losses = curve.step.to_numpy(dtype=float), curve.value.to_numpy(dtype=float)
    lost = not len(losses) or not math.isfinite(losses[-1])
    found = {}
    for share in SHARES:
        step, loss = steadiness.first_at_or_after(steps, losses, share)
        found[f"loss_at_{round(100 * share)}"] = (math.nan if lost else loss, step)
    reached = math.nan
    if not lost and losses[-1] < losses[0]:
        target = losses[0] - REDUCTION * (losses[0] - losses[-1])
        reached = float(time_to(steps, losses, target))
    return found | {"steps_to_90": (reached, math.nan)}


def _trained(losses: pd.DataFrame, norms: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Rate, spikes and variances, from the losses of training batches and gradient norms."""
    steps, values = losses.step.to_numpy(dtype=float), losses.value.to_numpy(dtype=float)
    last = steps[-1] if len(steps) else 0.0
    fitted = (steps >= FITTED[0] * last) & (steps <= FITTED[1] * last)
    rate, _ = steadiness.convergence_rate(steps[fitted], values[fitted])
    window, n = steadiness.window_of(len(values)), len(values)
    spikes = steadiness.loss_spikes(values, window).sum()
    found = {
        "early_convergence_rate": 100 * rate,
        "loss_spikes_per_100": 100 * float(spikes) / (n - window) if n > window else math.nan,
        "loss_variance_last_fifth": steadiness.end_variance(values),
        "gradient_variation_last_fifth": steadiness.end_variation(norms.value),
    }
    return {name: (value, math.nan) for name, value in found.items()}


def crossing(steps: np.ndarray, difference: np.ndarray) -> float:
    """The last step at which a difference (m,) of two curves changes its sign, with a line between
    two records; NaN if it never does."""
    found = math.nan
    for i in range(1, len(steps)):
        left, right = difference[i - 1], difference[i]
        if left * right < 0:
            found = float(steps[i - 1] + (steps[i] - steps[i - 1]) * left / (left - right))
    return found
