"""Figures of a ranking: every arm on every measure, and the training curves of all arms."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.crowd import PALE
from muonlab.report.style import (
    BLACK,
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILION,
    finish,
    log_axis,
    study_notes,
    use_style,
)
from muonlab.statistics.intervals import mean_interval


@figure(
    title="all arms by loss",
    section="ranking",
    caption="Every arm of **{title}** on *{data}*, in the order of its loss at the end of "
    "training: loss, perplexity, accuracy and the time of an update, means over n = {n} seeds per "
    "arm with {interval} t intervals. Open green dots are arms whose updates all have one size; "
    "the dotted line is the arm that the others are ranked against. Times are medians over "
    "updates after warm-up. Intervals here are of single arms: whether two differ, by seed, is in "
    "the table *ranking*. Protocol: {protocol}.",
)
def performance(ranking: pd.DataFrame, study: dict) -> Figure:
    """Loss, perplexity, accuracy and the time of an update of every arm, in the order of the
    ranking, with intervals over seeds."""
    use_style()
    figure, axes = plt.subplots(1, 4, figsize=(11.0, 1.5 + 0.2 * len(ranking)), sharey=True)
    y = np.arange(len(ranking))
    colours = arm_colours(ranking)
    loss = ranking[["loss", "loss_low", "loss_high"]].to_numpy(dtype=float)
    accuracy = ranking[["accuracy", "accuracy_low", "accuracy_high"]].to_numpy(dtype=float)
    step = 1e3 * ranking[["step_time", "step_time_low", "step_time_high"]].to_numpy(dtype=float)
    of_cpu = ranking.step_time.equals(ranking.step_cpu_seconds)
    split = ranking.evaluated_on.iloc[0]
    panels = [
        (f"{split} loss", "nats", loss),
        ("perplexity", "exp of the loss", np.exp(loss)),
        ("accuracy", f"share of {split} tokens" if study["kind"] == "text" else "share", accuracy),
        ("time of an update", f"ms, {'processor' if of_cpu else 'wall'} time", step),
    ]
    for axis, (title, unit, values) in zip(axes, panels, strict=True):
        limits = bulk(values)
        _dots(axis, y, values, ranking, colours, limits)
        axis.set_title(title)
        axis.set_xlabel(unit)
        axis.set_xlim(limits)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
    names = [
        f"{row.variant}  {row.rank}" + (f" ({row.diverged} diverged)" if row.diverged else "")
        for row in ranking.itertuples()
    ]
    axes[0].set_yticks(y, names)
    axes[0].set_ylim(len(ranking) - 0.5, -0.5)
    for tick, colour in zip(axes[0].get_yticklabels(), colours, strict=True):
        tick.set_color(BLACK if colour == PALE else colour)
        tick.set_fontsize(7.2)
    notes = study_notes(study, "bars: {} t interval")
    notes.insert(1, _legend(ranking) + " · number: rank by loss · × not estimable or diverged")
    notes.insert(2, "arrow: the value of an arm beyond the axis, which covers most arms")
    finish(figure, f"{study['title']}: all arms, by loss", notes)
    return figure


def bulk(values: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that shows most rows of values (n, 3), mean and interval. Means more than
    four interquartile ranges beyond the quartiles do not count, so that one arm far away does not
    squeeze all others together."""
    means = values[np.isfinite(values[:, 0]), 0]
    if not len(means):
        return 0.0, 1.0
    low, high = np.quantile(means, [0.25, 0.75])
    reach = 4 * (high - low) + 1e-9 * max(abs(low), abs(high))
    inside = values[(values[:, 0] >= low - reach) & (values[:, 0] <= high + reach)]
    inside = inside[np.isfinite(inside)]
    margin = 0.06 * (np.ptp(inside) or abs(inside[0]) or 1.0)
    return float(inside.min() - margin), float(inside.max() + margin)


def arm_colours(table: pd.DataFrame) -> list[str]:
    """Vermilion for the arm ranked against, blue for AdamW, green for matched steps, else grey."""
    known = {table.against.iloc[0]: VERMILION, "adamw": BLUE}
    return [known.get(row.arm, GREEN if row.matched_step else PALE) for row in table.itertuples()]


@figure(
    title="training curves of all arms",
    section="ranking",
    caption="Loss of every arm of **{title}** over training on *{data}*, and its difference from "
    "the arm that the others are ranked against, on the same seeds: means over n = {n} seeds per "
    "arm, bands {interval} t intervals of the paired difference. The axis of the differences is "
    "that of the second half of training. Protocol: {protocol}.",
)
def ranking_curves(metrics: pd.DataFrame, ranking: pd.DataFrame, study: dict) -> Figure:
    """Loss of every arm over training, and its difference from the arm that the others are ranked
    against, on the same seeds. That arm, AdamW, the best and the worst arm are in colour.

    `metrics`: arm, seed, step, split, metric, value.
    """
    use_style()
    against, split = ranking.against.iloc[0], study["training"]["evaluate_on"]
    losses = metrics[(metrics.split == split) & (metrics.metric == "loss")]
    losses = losses[losses.arm.isin(ranking.arm)]
    means = losses.pivot_table(
        index="step", columns="arm", values="value", aggfunc=lambda v: v.mean(skipna=False)
    )
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.0))
    shown = highlights(ranking, [arm["name"] for arm in study["arms"]])
    for arm in sorted(means, key=lambda arm: arm in shown):
        look = {"color": PALE, "linewidth": 0.8, "zorder": 2} | shown.get(arm, {})
        axes[0].plot(means.index, means[arm], **look)
        if arm != against:
            look = {key: value for key, value in look.items() if key != "label"}
            axes[1].plot(means.index, means[arm] - means[against], **look)
            if arm in shown:
                _difference_band(axes[1], losses, arm, against, look["color"], study["alpha"])
    axes[1].axhline(0, color=VERMILION, linewidth=1.6)
    axes[0].set_yscale("log")
    log_axis(axes[0].yaxis)
    axes[0].set_ylabel("nats")
    axes[0].set_title(f"{split} loss")
    axes[1].set_title(f"{split} loss − base")
    _zoom(axes[1], means.sub(means[against], axis=0).drop(columns=against), shown)
    for axis in axes:
        axis.set_xlabel("updates")
        axis.margins(x=0.01)
    axes[0].legend(loc="upper right", fontsize=7.5)
    notes = study_notes(study, "bands: {} t interval of the paired difference")
    notes.insert(1, f"base: {_label(study, against)} · grey: all other arms, without a band")
    finish(figure, f"{study['title']}: training curves", notes)
    return figure


def highlights(table: pd.DataFrame, arms: Sequence[str]) -> dict[str, dict]:
    """Look of the highlighted lines: the arm ranked against, AdamW, the best and the worst arm. An
    arm that is several of these has all of them in its label."""
    roles = {table.against.iloc[0]: (VERMILION, ["base"])}
    sound = table[(table.diverged == 0) & table.loss.notna()]
    if "adamw" in arms:
        roles.setdefault("adamw", (BLUE, []))
    if len(sound) > 1:
        roles.setdefault(sound.arm.iloc[0], (GREEN, []))[1].append("best")
        # AdamW is highlighted anyway, so the worst of the other arms is shown too.
        others = sound[sound.arm != "adamw"]
        worst = "worst" if len(others) == len(sound) else "worst but for AdamW"
        roles.setdefault(others.arm.iloc[-1], (PURPLE, []))[1].append(worst)
    labels = dict(zip(table.arm, table.variant, strict=True))
    return {
        arm: {
            "color": colour,
            "linewidth": 1.8,
            "zorder": 4,
            "label": labels[arm] + (f" ({', '.join(said)})" if said else ""),
        }
        for arm, (colour, said) in roles.items()
    }


def _dots(
    axis: Axes,
    y: np.ndarray,
    values: np.ndarray,
    table: pd.DataFrame,
    colours: Sequence[str],
    limits: tuple[float, float],
) -> None:
    """One dot with its interval for each arm, and a line at the arm ranked against. A mean outside
    of `limits` is shown as an arrow with its value."""
    for place, (mean, low, high), colour, row in zip(
        y, values, colours, table.itertuples(), strict=True
    ):
        if not np.isfinite(mean) or row.diverged:
            axis.plot([0.03], [place], "x", transform=axis.get_yaxis_transform(), color=MUTED)
            continue
        if not limits[0] <= mean <= limits[1]:
            right = mean > limits[1]
            axis.text(0.99 if right else 0.01, place, f"{mean:.4g} ▸" if right else f"◂ {mean:.4g}",
                      transform=axis.get_yaxis_transform(), ha="right" if right else "left",
                      va="center", fontsize=7, color=colour)  # fmt: skip
            continue
        axis.hlines(place, low, high, color=colour, lw=1.4)
        face = "white" if row.matched_step else colour
        axis.plot([mean], [place], "o", color=colour, mfc=face, markersize=4.2, mew=1.2)
    base = values[(table.arm == table.against).to_numpy(), 0][0]
    axis.axvline(base, color=VERMILION, linewidth=0.8, linestyle=":")
    for odd in range(1, len(y), 2):
        axis.axhspan(odd - 0.5, odd + 0.5, color="#f4f6f8", linewidth=0, zorder=0)
    axis.grid(axis="y", visible=False)


def _legend(table: pd.DataFrame) -> str:
    labels = dict(zip(table.arm, table.variant, strict=True))
    parts = [f"vermilion and dotted: {labels[table.against.iloc[0]]}"]
    if "adamw" in labels:
        parts.append("blue: AdamW")
    if table.matched_step.any():
        parts.append("green, open: steps of one size")
    return " · ".join(parts)


def _difference_band(
    axis: Axes, losses: pd.DataFrame, arm: str, against: str, colour: str, alpha: float
) -> None:
    wide = losses[losses.arm.isin([arm, against])].pivot(
        index=["step", "seed"], columns="arm", values="value"
    )
    difference = (wide[arm] - wide[against]).groupby("step")
    intervals = [mean_interval(own.to_numpy(), alpha) for _, own in difference]
    steps = list(difference.groups)
    low, high = ([getattr(i, end) for i in intervals] for end in ("low", "high"))
    axis.fill_between(steps, low, high, color=colour, alpha=0.16, lw=0)


def _zoom(axis: Axes, differences: pd.DataFrame, shown: dict[str, dict]) -> None:
    """Limits the axis to the range of most arms in the second half of training, since the large
    differences at the start, and a single arm far away, would hide the others. Lines beyond the
    limits are named at the edge."""
    later = differences.iloc[len(differences) // 2 :]
    flat = later.to_numpy().ravel()
    low, high = bulk(np.stack([flat] * 3, axis=1))
    low, high = min(low, 0.0), max(high, 0.0)
    axis.set_ylim(low, high + 0.1 * (high - low))
    beyond = {1: [], -1: []}
    for arm in [arm for arm in shown if arm in later]:
        end = later[arm].iloc[-1]
        if end > high or end < low:
            beyond[1 if end > high else -1].append((arm, end))
    for side, arms in beyond.items():
        for line, (arm, end) in enumerate(arms):
            text = f"{shown[arm]['label']}: {end:+.3g} {'▴' if side > 0 else '▾'}"
            y = 0.99 - 0.06 * line if side > 0 else 0.01 + 0.06 * line
            axis.text(0.99, y, text.replace("-", "−"), transform=axis.transAxes, ha="right",
                      va="top" if side > 0 else "bottom", fontsize=7.5,
                      color=shown[arm]["color"])  # fmt: skip


def _label(study: dict, arm: str) -> str:
    return next(a["label"] for a in study["arms"] if a["name"] == arm)
