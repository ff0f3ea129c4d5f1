"""Lines over training with bands over seeds, shared by the figures that show them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.report.style import MUTED, ArmStyle
from muonlab.statistics.intervals import intervals_by


def band(
    axis: Axes,
    rows: pd.DataFrame,
    style: ArmStyle,
    x: pd.Series,
    alpha: float,
    shaded: bool = True,
) -> None:
    """Draws the mean over seeds at each x as a line and, if `shaded` and n ≥ 2, its t interval of
    level 1 − α as a band."""
    _draw(axis, rows.value, style, x, alpha, np.asarray, shaded)


def log_band(axis: Axes, rows: pd.DataFrame, style: ArmStyle, x: pd.Series, alpha: float) -> None:
    """`band` of the logarithm, hence of the geometric mean, on a logarithmic axis. The interval of
    an arithmetic mean of positive numbers that span decades would reach below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(rows.value)
    _draw(axis, logs, style, x, alpha, np.exp)
    axis.set_yscale("log")


def _draw(
    axis: Axes,
    values: pd.Series,
    style: ArmStyle,
    x: pd.Series,
    alpha: float,
    back: Callable,
    shaded: bool = True,
) -> None:
    """Draws mean and interval of `values`, transformed by `back`. Where they are not finite the
    line has a gap."""
    grouped = values.groupby(x)
    means = grouped.mean(skipna=False)
    line = {key: value for key, value in style.items() if key != "marker"}
    axis.plot(means.index, back(means.to_numpy()), **line)
    if not shaded:
        return
    placed = x.notna()  # `grouped` leaves the others out, too
    ends = intervals_by(values[placed], grouped.ngroup()[placed], alpha)
    low, high = ends["low"], ends["high"]
    axis.fill_between(means.index, back(low), back(high), color=style.colour, alpha=0.18, lw=0)


def arm_legend(figure: Figure, axis: Axes, columns: int = 6) -> None:
    """One legend of the arms for all panels, at the top right beside the title."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper right",
        ncols=columns,
        bbox_to_anchor=(0.99, 1.0),
        handlelength=2.6,
        columnspacing=1.4,
    )


def nothing(axis: Axes, sentence: str) -> None:
    """An empty panel that says why it is empty."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, sentence, transform=axis.transAxes, ha="center", color=MUTED, fontsize=9)
