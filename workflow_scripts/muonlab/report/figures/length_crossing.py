"""The final loss of a baseline over its length, and where it meets that of another arm."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from muonlab.declare import figure
from muonlab.report.lengths import LENGTHS, ratio_text
from muonlab.report.style import ArmStyle, arm_styles, finish, study_notes, use_style


@figure(
    title="speed-up",
    section="training",
    caption="Final loss on *{data}* of the baseline, run at several lengths with a whole schedule "
    "each (its band is the {interval} t interval over n = {n} seeds), and the final losses of the "
    "arms that it is compared with, at their own length. Where the lines meet is the speed-up, "
    "with its {interval} bootstrap interval over paired seeds. Protocol: {protocol}.",
)
def speed_up(speed_up_points: pd.DataFrame, speed_up_table: pd.DataFrame, study: dict) -> Figure:
    """The baseline's final loss over its length, and where it meets those of the other arms."""
    use_style()
    figure, axis = plt.subplots(figsize=(6.6, 4.1))
    styles = arm_styles(study["arms"])
    curve = speed_up_points[speed_up_points.of == "baseline"]
    _baseline(axis, curve, styles[speed_up_table.baseline.iloc[0]])
    found = speed_up_table[(speed_up_table.method == LENGTHS) & (speed_up_table.unit == "step")]
    right = float(curve.length.max())
    for arm in speed_up_points[speed_up_points.of == "arm"].itertuples():
        rows = found[found.arm == arm.arm]
        row = next(rows.itertuples(), None)
        _arm(axis, arm, row, styles[arm.arm], right)
    _lengths(axis, curve)
    axis.set_ylabel(f"final {study['training']['evaluate_on']} loss (nats)")
    axis.legend(loc="best")
    notes = study_notes(study, "bands: {} t interval of the mean")
    notes.insert(1, "every run has its own whole schedule · mark: the speed-up in steps, with its "
                 f"{study['interval']} bootstrap interval")  # fmt: skip
    finish(figure, f"{study['title']}: how long the baseline needs", notes)
    return figure


def _baseline(axis: Axes, curve: pd.DataFrame, style: ArmStyle) -> None:
    axis.plot(curve.length, curve["mean"], **style, markersize=5, zorder=3)
    axis.fill_between(curve.length, curve.low, curve.high, color=style.colour, alpha=0.16, lw=0)


def _arm(axis: Axes, arm, row, style: ArmStyle, right: float) -> None:
    """The arm's final loss as a line with a band, and the crossing, or an arrow to where it lies
    beyond the lengths that were run."""
    line = {key: value for key, value in style.items() if key != "marker"}
    if np.isfinite(arm.mean):
        axis.axhline(arm.mean, **line, zorder=2)
        if np.isfinite(arm.low):
            axis.axhspan(arm.low, arm.high, color=style.colour, alpha=0.12, lw=0, zorder=1)
    if row is None or np.isnan(row.ratio) or not np.isfinite(arm.mean):
        return
    left = row.shortest / row.longest * right
    low, high, at = (
        float(np.clip(arm.length * value, left, right)) for value in (row.low, row.high, row.ratio)
    )
    if np.isfinite([low, high]).all():
        axis.hlines(arm.mean, low, high, color=style.colour, lw=4, alpha=0.55, zorder=4)
    inside = 0 < row.ratio < np.inf
    marker = "o" if inside else (">" if row.ratio > 0 else "<")
    axis.plot([at], [arm.mean], marker, color=style.colour, mec="white", markersize=9, zorder=5)
    late = at > np.sqrt(left * right)  # the baseline falls, so there is room below it on its left
    axis.annotate(
        ratio_text(row),
        (at, arm.mean),
        xytext=(-6, -9) if late else (6, 8),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top" if late else "bottom",
        color=style.colour,
        fontweight="bold",
        fontsize=9,
    )


def _lengths(axis: Axes, curve: pd.DataFrame) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(list(curve.length)))
    ticks = [f"{row.length:.3g} ×\n{row.steps:g}" for row in curve.itertuples()]
    axis.xaxis.set_major_formatter(FixedFormatter(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("length of the baseline's run, in updates (logarithmic)")
    axis.margins(x=0.08, y=0.16)
