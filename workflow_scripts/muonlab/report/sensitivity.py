"""Figures of robustness: loss about the chosen learning rate, and over the tuning budget."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from muonlab.report.bands import arm_legend, nothing
from muonlab.report.style import (
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)


def sensitivity_figure(curves: pd.DataFrame, basins: pd.DataFrame, study: dict) -> Figure:
    """Loss over multiples of the chosen learning rate with bands over seeds, the change against the
    chosen rate, and the width of each arm's basin."""
    use_style()
    figure, axes = plt.subplots(1, 3, figsize=(10.6, 3.9), width_ratios=(1.15, 1.15, 1))
    styles = arm_styles([arm for arm in study["arms"] if arm["name"] in set(curves.arm)])
    for arm, style in styles.items():
        own = curves[curves.arm == arm]
        label = f"{style['label']} (chosen {own.lr[own.factor == 1].iloc[0]:g})"
        for axis, column in zip(axes, ("mean", "change"), strict=False):
            _curve(axis, own, column, style | {"label": label})
    for axis, title in zip(axes, ("loss", "change of the loss"), strict=False):
        _factor_axis(axis, sorted(set(curves.factor)))
        axis.set_title(title)
    axes[0].set_ylabel(f"{study['training']['evaluate_on']} loss (nats)")
    axes[1].set_ylabel("relative to the chosen rate (%)")
    axes[1].axhline(0, color=MUTED, linewidth=0.9, linestyle=":")
    arm_legend(figure, axes[0])
    _widths(axes[2], basins, styles)
    seeds = int(curves.n.max())
    fewer = f"n = {seeds} of the study's {len(study['seeds'])} seeds"
    notes = [
        f"data: {study['data']} · {fewer} · bands and bars: 95 % t interval over seeds · "
        f"protocol: {study['protocol']}",
        *study_notes(study)[1:],
    ]
    notes.insert(1, "× diverged · an arrow: the basin goes on beyond the rates tried")
    finish(figure, f"{study['title']}: sensitivity to the learning rate", notes)
    return figure


def budget_figure(table: pd.DataFrame, study: dict) -> Figure:
    """The loss that the best of k tuning trials is expected to have, by arm, with its band."""
    use_style()
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    arms = [arm for arm in study["arms"] if arm["name"] in set(table.arm)]
    lost = 0
    for arm, style in arm_styles(arms).items():
        own = table[table.arm == arm]
        sound = own[np.isfinite(own.expected)]
        lost += len(own) - len(sound)
        axis.plot(sound.k, sound.expected, **style, markersize=4)
        high = sound.high.where(np.isfinite(sound.high))
        axis.fill_between(sound.k, sound.low, high, color=style.colour, alpha=0.15, lw=0)
    if table.empty:
        nothing(axis, "No arm was tuned.")
    else:
        axis.set_yscale("log")
        log_axis(axis.yaxis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("tuning trials")
        score = table.score.iloc[0]
        axis.set_ylabel(f"expected best {score} {study['training']['evaluate_on']} loss (nats)")
        axis.legend(loc="best")
    notes = [
        f"data: {study['data']} · scores: means over {_tuning_seeds(table)} tuning seed(s) · band: "
        f"95 % bootstrap over trials · protocol: {study['protocol']}",
        "over all subsets of k trials; the band is too narrow near all of them"
        + (f" · not shown: {lost} budgets whose trials may all diverge" if lost else ""),
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: what k tuning trials find", notes)
    return figure


def _tuning_seeds(table: pd.DataFrame) -> int:
    return 0 if table.empty else int(table.tuning_seeds.iloc[0])


def _curve(axis: Axes, own: pd.DataFrame, column: str, style: ArmStyle | dict) -> None:
    """Means as a line, the band of seeds, and a cross at the top for factors that diverged."""
    percent = 100.0 if column == "change" else 1.0
    values, low, high = (percent * own[c] for c in (column, f"{column}_low", f"{column}_high"))
    if column == "change":  # 0 by construction at the chosen rate, where no band is
        low, high = (limit.mask(own.factor == 1, 0.0) for limit in (low, high))
    axis.plot(own.factor, values, **style, markersize=4)
    axis.fill_between(own.factor, low, high, color=style["color"], alpha=0.16, lw=0)
    lost = own[own.diverged > 0]
    axis.plot(
        lost.factor, np.full(len(lost), 0.97), "x", color=style["color"],
        transform=axis.get_xaxis_transform(),
    )  # fmt: skip


def _factor_axis(axis: Axes, factors: list[float]) -> None:
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(FixedLocator(factors))
    axis.xaxis.set_major_formatter(FixedFormatter([f"{factor:g}" for factor in factors]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("factor on the chosen rate")


def _widths(axis: Axes, basins: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    """Basin widths as dots with intervals; an arrow where the rates tried cut the basin off."""
    own = basins[basins.against.isna() | (basins.against == "")].set_index("arm")
    for place, (arm, style) in enumerate(styles.items()):
        row = own.loc[arm]
        if not np.isfinite(row.octaves):
            axis.plot([0.03], [place], "x", transform=axis.get_yaxis_transform(), color=MUTED)
            continue
        cut = bool(row.at_least)
        high = row.octaves if not np.isfinite(row.high) else row.high
        low = row.low if np.isfinite(row.low) else row.octaves
        axis.hlines(place, low, high, color=style.colour, lw=1.4)
        axis.plot([row.octaves], [place], "o", color=style.colour, markersize=5)
        if cut:
            axis.annotate(
                "at least", (row.octaves, place), xytext=(34, 0), textcoords="offset points",
                va="center", fontsize=7.5, color=style.colour,
                arrowprops={"arrowstyle": "<-", "color": style.colour},
            )  # fmt: skip
    axis.set_yticks([])
    axis.set_ylim(len(styles) - 0.4, -0.6)
    axis.set_xlim(left=0)
    axis.margins(x=0.5)
    tolerance = 100 * basins.tolerance.iloc[0]
    axis.set_xlabel(f"octaves within {tolerance:g} % of the lowest loss")
    axis.set_title("width of the basin")
