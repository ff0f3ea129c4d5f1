"""One setting at a time, all others at their chosen values."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.style import ArmStyle, arm_styles, finish, study_notes, use_style
from muonlab.report.sweeps import sweep_points

MOST_LABELS = 14  # of the axes of values of one line of panels


@figure(
    title="one setting at a time",
    section="tuning",
    caption="Loss on *{data}* over one setting at a time, all others at their chosen values: each "
    "number in a tuned arm's grid, over the tuning seeds; and numbers of the grid of "
    "``sensitivity`` and those that other arms change, over the reporting seeds. On tuning seeds "
    "the chosen value looks better than it is, because these seeds also chose it. Protocol: "
    "{protocol}.",
)
def one_at_a_time(
    selection: dict,
    sweeps: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    grid_runs: Sequence[dict] | None = None,
    grid_summaries: Sequence[dict] | None = None,
) -> Figure:
    """A panel for each setting: losses over its values, evenly spaced, with runs as dots.

    All panels share the axis of losses, so that the effects of settings can be compared by eye.
    Rings mark the chosen value, or the base's; crosses at the top are values at which a run
    diverged.
    """
    use_style()
    points = sweep_points(selection, sweeps, runs, summaries, study, grid_runs, grid_summaries)
    panels = list(dict.fromkeys(zip(points.field, points.seeds, strict=True)))
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (max(8.2, 1.2 + 2.2 * columns), 0.9 + 2.7 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    styles = arm_styles(study["arms"])
    for axis, (field, seeds) in zip(axes.flat, panels, strict=False):
        own = points[(points.field == field) & (points.seeds == seeds)]
        _sweep(axis, own, styles, MOST_LABELS // max(2, columns))
        count = own.groupby(["arm", "value"]).seed.nunique().max()
        axis.set_title(field)
        axis.set_xlabel(f"n = {count} {seeds} seed{'s' if count > 1 else ''}")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel(f"{selection['score']} {study['training']['evaluate_on']} loss (nats)")
    _legend(figure, axes[0][0], points, styles)
    notes = [
        f"data: {study['data']} · dots: single runs, lines: their means · ring: chosen, or the "
        f"base's value · protocol: {study['protocol']}",
        "every other setting at its chosen value · on tuning seeds the chosen value looks too good",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: one setting at a time", notes)
    return figure


def _sweep(axis: Axes, points: pd.DataFrame, styles: dict[str, ArmStyle], most: int) -> None:
    values = sorted(set(points.value))
    place = {value: i for i, value in enumerate(values)}
    for arm, own in points.groupby("arm", sort=False):
        style = styles[arm]
        x = own.value.map(place)
        means = own.groupby("value").loss.apply(lambda v: v.mean(skipna=False))
        axis.plot(means.index.map(place), means.to_numpy(), markersize=0, **style)
        axis.plot(x, own.loss, style["marker"], color=style.colour, alpha=0.5, markersize=3.5)
        chosen = own.value[own.reference].iloc[0]
        axis.plot(
            place[chosen],
            means[chosen],
            "o",
            markersize=11,
            fillstyle="none",
            color=style.colour,
            markeredgewidth=1.6,
        )
        for value in sorted(set(own.value[own.loss.isna()])):
            axis.plot(
                place[value], 0.97, "x", color=style.colour, transform=axis.get_xaxis_transform()
            )
    labelled = range(0, len(values), -(-len(values) // most))
    axis.set_xticks(labelled, [f"{values[i]:.3g}" for i in labelled])
    axis.set_xlim(-0.5, len(values) - 0.5)


def _legend(figure: Figure, axis: Axes, points: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    """A legend of all arms of the figure, beside the title or below it."""
    for line in axis.lines:
        line.set_label("_")
    for arm in dict.fromkeys(points.arm):
        axis.plot([], [], **styles[arm])
    arm_legend(figure, axis, columns=4)
