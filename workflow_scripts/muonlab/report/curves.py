"""Learning curves with seed bands, and the learning-rate sweep."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.report.bands import band
from muonlab.report.crowd import PALE, end_labels, height, is_crowd, line_styles
from muonlab.report.style import (
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)


def learning_curves(curves: pd.DataFrame, study: dict, splits: dict) -> Figure:
    """Loss and accuracy of every arm over epochs (of text, over steps), mean and band over seeds.

    `curves`: arm, seed, step, split, metric, value. `study`: the context of a study (title, data,
    protocol, seeds, arms, training, target_loss). `splits`: sizes of the data set's splits.
    """
    use_style()
    training = study["training"]
    per_unit, unit = _time_unit(study, splits)
    crowd = is_crowd(study["arms"])
    size = (11.0, 0.9 + height(study["arms"], 2.8)) if crowd else (8.4, 3.7)
    figure, axes = plt.subplots(1, 2, figsize=size)
    styles = line_styles(study["arms"])
    followed = curves[curves.split == training["evaluate_on"]]
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for arm, style in styles.items():
            rows = followed[(followed.arm == arm) & (followed.metric == metric)]
            shaded = style.colour != PALE
            band(axis, rows, style, x=rows.step / per_unit, shaded=shaded)
        axis.set_xlabel(unit)
        axis.set_title(f"{training['evaluate_on']} {metric}")
        axis.margins(x=0.01)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("cross-entropy (nats)")
    log_axis(axes[0].yaxis)
    axes[1].set_ylabel("accuracy")
    _zoom_accuracy(axes[1], followed[followed.metric == "accuracy"].value)
    _target_line(axes[0], study["target_loss"])
    notes = study_notes(study)
    if crowd:
        notes.insert(1, "in colour: tuned arms, with bands; grey: arms that go by their tuning")
        for axis in axes:
            end_labels(axis, styles)
    else:
        axes[1].legend(loc="lower right")
    finish(figure, f"{study['title']}: learning curves", notes)
    return figure


def _time_unit(study: dict, splits: dict) -> tuple[float, str]:
    """Steps in a unit of the time axis, and what the unit is called."""
    training = study["training"]
    if study["kind"] == "text":
        return 1, "updates"
    examples = sum(splits[split]["examples"] for split in training["train_on"])
    batches = math.ceil(examples / training["batch_size"])
    return math.ceil(batches / training["accumulation"]), "epoch"


def lr_sweep(selection: dict, study: dict) -> Figure:
    """Each tuned arm's score over the learning rate: seeds as dots, means as lines, the choice
    ringed; where other fields were tuned too, at the chosen values of these.

    A choice on an edge of the grid is marked by an open triangle that points out of the box;
    diverged trials stand above a line at the top of the figure.
    """
    use_style()
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    styles = arm_styles(study["arms"])
    score, tuning_seeds = selection["score"], len(selection["seeds"])
    column = "final_loss" if score == "final" else "best_loss"
    arms = [arm for arm in study["arms"] if arm["tuned"] and "lr" in arm["settings"]]
    table = pd.DataFrame(
        [
            {
                "arm": trial["arm"],
                "lr": trial["settings"]["lr"],
                "value": math.nan if trial["diverged"] else trial[column],
            }
            for arm in arms
            for trial in selection["trials"]
            if trial["arm"] == arm["name"] and _beside_lr(trial["settings"], arm["settings"])
        ]
    )
    for arm in arms:
        rows = table[table.arm == arm["name"]]
        _sweep_line(axis, rows, styles[arm["name"]])
        _mark_choice(axis, rows, arm, styles[arm["name"]])
    axis.set_xscale("log")
    axis.set_yscale("log")
    log_axis(axis.xaxis)
    log_axis(axis.yaxis)
    axis.set_xlabel("learning rate")
    axis.set_ylabel(f"{score} {study['training']['evaluate_on']} loss (nats)")
    _diverged(axis, table, styles)
    axis.legend(loc="best")
    notes = [
        f"data: {study['data']} · dots: {tuning_seeds} tuning seed(s), lines: their mean · "
        f"ring: chosen · protocol: {study['protocol']}",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: learning-rate sweep", notes)
    return figure


def _beside_lr(settings: dict, chosen: dict) -> bool:
    """Whether a trial differs from the choice in nothing but the learning rate."""
    return all(value == chosen[field] for field, value in settings.items() if field != "lr")


def _target_line(axis: Axes, target: float) -> None:
    axis.axhline(target, color=MUTED, linewidth=0.9, linestyle=":")
    axis.annotate(
        f"matched loss {target:.3f}",
        (0, target),
        xycoords=("axes fraction", "data"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=7.5,
        color=MUTED,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
    )


def _zoom_accuracy(axis: Axes, values: pd.Series) -> None:
    """Leaves out the steep start, where all arms are alike."""
    finite = values[np.isfinite(values)]
    if len(finite):
        low = max(0.0, finite.quantile(0.08) - 0.02)
        axis.set_ylim(low, min(1.0, finite.max() + 0.02))


def _sweep_line(axis: Axes, rows: pd.DataFrame, style: ArmStyle) -> None:
    means = rows.groupby("lr").value.apply(lambda v: v.mean() if v.notna().all() else math.nan)
    axis.plot(means.index, means.to_numpy(), markersize=0, **style)
    axis.plot(rows.lr, rows.value, style["marker"], color=style.colour, alpha=0.45, markersize=3.5)


def _mark_choice(axis: Axes, rows: pd.DataFrame, arm: dict, style: ArmStyle) -> None:
    lr = arm["settings"]["lr"]
    y = rows[rows.lr == lr].value.mean()
    axis.plot(
        [lr], [y], "o", markersize=11, fillstyle="none", color=style.colour, markeredgewidth=1.6
    )
    side = arm["edges"].get("lr")
    if side:
        axis.annotate(
            "▸ edge" if side == "high" else "edge ◂",
            (lr, y),
            xytext=(9 if side == "high" else -9, 0),
            textcoords="offset points",
            ha="left" if side == "high" else "right",
            va="center",
            fontsize=8,
            color=style.colour,
        )


def _diverged(axis: Axes, table: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    lost = table[table.value.isna()]
    if lost.empty:
        return
    for arm, style in styles.items():
        for lr in sorted(set(lost[lost.arm == arm].lr)):
            axis.plot([lr], [0.97], "x", transform=axis.get_xaxis_transform(), color=style.colour)
    axis.text(
        0.01, 0.97, "diverged ×", transform=axis.transAxes, fontsize=7.5, color=MUTED, va="center"
    )
