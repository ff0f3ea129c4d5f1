"""How the loss changes beside the chosen learning rate, and how wide the range of good rates is."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.style import (
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    study_notes,
    use_style,
)


@figure(
    title="sensitivity to the learning rate",
    section="tuning",
    caption="Loss at multiples of each arm's chosen learning rate on *{data}*, its change "
    "relative to the chosen rate on the same seeds, and the width of the range of rates whose "
    "loss is within 1 % of the lowest: bands and bars are {interval} t intervals over seeds. An "
    "arrow means that the range extends beyond the rates that were tried. Protocol: {protocol}.",
)
def lr_sensitivity(lr_sensitivity: pd.DataFrame, basins: pd.DataFrame, study: dict) -> Figure:
    """Loss over multiples of the chosen learning rate with bands over seeds, its change relative to
    the chosen rate, and the width of each arm's basin."""
    use_style()
    curves = lr_sensitivity
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
        f"data: {study['data']} · {fewer} · bands and bars: {study['interval']} t interval over "
        f"seeds · protocol: {study['protocol']}",
        *study_notes(study)[1:],
    ]
    notes.insert(1, "× diverged · an arrow: the basin extends beyond the rates tried")
    finish(figure, f"{study['title']}: sensitivity to the learning rate", notes)
    return figure


def _curve(axis: Axes, own: pd.DataFrame, column: str, style: ArmStyle | dict) -> None:
    """Means as a line, the band of seeds, and a cross at the top for factors that diverged."""
    percent = 100.0 if column == "change" else 1.0
    values, low, high = (percent * own[c] for c in (column, f"{column}_low", f"{column}_high"))
    if column == "change":  # at the chosen rate the change is 0 by construction, without a band
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
    """Basin widths as dots with intervals; an arrow where the basin extends beyond the rates."""
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
