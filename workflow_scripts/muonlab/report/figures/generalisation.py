"""Training beside validation loss, and perplexity, over training."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band, log_band
from muonlab.report.style import (
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)

MOST = 6  # arms that are shown
SMOOTHING = 5  # records that a line of the training loss averages


@figure(
    title="training and validation loss, perplexity",
    section="training",
    caption="Tuned arms of **{title}** on *{data}*. Left: {split} loss (solid) beside the training "
    "loss of the batches (dashed, running mean of five records). Middle: their gap, {split} minus "
    "training loss, at each evaluation. Right: perplexity on the {split} split, the exponential of "
    "its loss. Lines are means over n = {n} seeds, bands their {interval} t intervals. "
    "Protocol: {protocol}.",
)
def generalisation(metrics: pd.DataFrame, study: dict) -> Figure:
    """Loss on both splits, their gap, and perplexity of the first tuned arms over updates."""
    use_style()
    arms = [arm for arm in study["arms"] if arm["tuned"]][:MOST]
    styles, split = arm_styles(arms), study["training"]["evaluate_on"]
    drawn, axes = plt.subplots(1, 3, figsize=(11.0, 3.8))
    batches = metrics[(metrics.split == "train") & (metrics.metric == "loss")]
    training = smoothed(batches)
    held_out = metrics[(metrics.split == split) & (metrics.metric == "loss")]
    for arm, style in styles.items():
        own, seen = held_out[held_out.arm == arm], training[training.arm == arm]
        solid = ArmStyle(style | {"linestyle": "-"})
        band(axes[0], own, solid, own.step, study["alpha"])
        dashed = ArmStyle(style | {"linestyle": (0, (3, 1.5)), "label": "_train", "linewidth": 1.2})
        band(axes[0], seen, dashed, seen.step, study["alpha"], shaded=False)
        # A running mean would lag behind where the loss falls, and look like a gap.
        apart = gaps(own, batches[batches.arm == arm])
        band(axes[1], apart, solid, apart.step, study["alpha"])
        perplexity = own.assign(value=np.exp(own.value.clip(upper=700)))
        log_band(axes[2], perplexity, solid, perplexity.step, study["alpha"])
    _labels(axes, split)
    arm_legend(drawn, axes[1])
    finish(drawn, f"{study['title']}: training and {split} loss", study_notes(study))
    return drawn


def smoothed(losses: pd.DataFrame, window: int = SMOOTHING) -> pd.DataFrame:
    """The records with each run's running mean over `window` records, centred, in place of its
    values; shorter at both ends."""
    values = losses.groupby(["arm", "seed"], sort=False).value
    means = values.transform(lambda own: own.rolling(window, center=True, min_periods=1).mean())
    return losses.assign(value=means)


def gaps(held_out: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """seed, step, value: the loss on the held-out split minus the training loss, which is
    interpolated between its records. Evaluations after the last of them take the last."""
    parts = []
    for seed, own in held_out.groupby("seed", sort=False):
        seen = training[training.seed == seed].sort_values("step")
        if seen.empty:
            continue
        there = np.interp(own.step, seen.step, seen.value)
        parts.append(pd.DataFrame({"seed": seed, "step": own.step, "value": own.value - there}))
    empty = pd.DataFrame({"seed": [], "step": [], "value": []})
    return pd.concat(parts, ignore_index=True) if parts else empty


def _labels(axes: Sequence[Axes], split: str) -> None:
    titles = (f"{split} and training loss", f"{split} − training loss", f"{split} perplexity")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
        axis.set_xlabel("updates")
        axis.margins(x=0.01)
    axes[0].set_ylabel("cross-entropy (nats)")
    axes[1].axhline(0, color=MUTED, linewidth=0.9)
    log_axis(axes[2].yaxis)
    marks = [
        Line2D([], [], color=MUTED, label=split),
        Line2D([], [], color=MUTED, linestyle=(0, (3, 1.5)), label="training batches"),
    ]
    axes[0].legend(handles=marks, loc="best")
