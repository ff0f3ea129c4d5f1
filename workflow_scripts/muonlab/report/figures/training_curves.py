"""Loss and accuracy of the arms over training."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band
from muonlab.report.crowd import PALE, is_crowd, legend_styles
from muonlab.report.levels import diverged_runs, evaluated
from muonlab.report.style import (
    MUTED,
    finish,
    log_axis,
    study_notes,
    use_style,
)


@figure(
    title="learning curves",
    section="training",
    caption="Loss and accuracy on the {split} split of *{data}* over training. Lines are means "
    "over n = {n} seeds per arm, bands their {interval} t intervals. Learning rates that tuning "
    "chose: {rates}. The dotted lines are "
    "losses that every run of all arms passed, diverged runs aside. "
    "Protocol: {protocol}.",
)
def learning_curves(
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    data_facts: dict,
) -> Figure:
    """Loss and accuracy of every arm over epochs (for text, over steps), mean and band over seeds.

    `metrics`: arm, seed, step, split, metric, value. `data_facts`: the digest file of the prepared
    data, which has the sizes of the splits.
    """
    use_style()
    training = study["training"]
    per_unit, unit = _time_unit(study, data_facts)
    crowd = is_crowd(study["arms"])
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.1))
    styles = legend_styles(study["arms"])
    followed = metrics[metrics.split == training["evaluate_on"]]
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for arm, style in styles.items():
            rows = followed[(followed.arm == arm) & (followed.metric == metric)]
            x, shaded = rows.step / per_unit, style.colour != PALE
            band(axis, rows, style, x, study["alpha"], shaded)
        axis.set_xlabel(unit)
        axis.set_title(f"{training['evaluate_on']} {metric}")
        axis.margins(x=0.01)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("cross-entropy (nats)")
    log_axis(axes[0].yaxis)
    axes[1].set_ylabel("accuracy")
    _zoom_accuracy(axes[1], followed[followed.metric == "accuracy"].value)
    curves = evaluated(metrics, training["evaluate_on"], diverged_runs(runs, summaries))
    _level_lines(axes[0], curves.levels(study["levels"]))
    notes = study_notes(study)
    if crowd:
        notes.insert(1, "in colour: the arms that are compared, with bands; grey: all other arms")
    arm_legend(figure, axes[0])
    finish(figure, f"{study['title']}: learning curves", notes)
    return figure


def _time_unit(study: dict, data_facts: dict) -> tuple[float, str]:
    """Steps in one unit of the time axis, and the name of the unit."""
    training = study["training"]
    if study["kind"] == "text":
        return 1, "updates"
    examples = sum(data_facts["splits"][split]["examples"] for split in training["train_on"])
    batches = math.ceil(examples / training["batch_size"])
    return math.ceil(batches / training["accumulation"]), "epoch"


def _level_lines(axis: Axes, levels: np.ndarray) -> None:
    """Lines at losses that every run of all arms passed. Their numbers stand at the right where
    they have room, one above the other."""
    known = levels[np.isfinite(levels)]
    for level in known:
        axis.axhline(level, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    if not len(known):
        return
    close = len(known) > 1 and np.ptp(np.log(known)) < 0.06 * np.ptp(np.log(axis.get_ylim()))
    shown = {known.max(): f"losses 1–{len(known)}"} if close else {
        level: f"loss {i + 1}" for i, level in enumerate(known)
    }  # fmt: skip
    for level, name in shown.items():
        axis.annotate(
            name,
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=6.5,
            color=MUTED,
            annotation_clip=False,
        )


def _zoom_accuracy(axis: Axes, values: pd.Series) -> None:
    """Limits the axis to leave out the steep start, where all arms are alike."""
    finite = values[np.isfinite(values)]
    if len(finite):
        low = max(0.0, finite.quantile(0.08) - 0.02)
        axis.set_ylim(low, min(1.0, finite.max() + 0.02))
