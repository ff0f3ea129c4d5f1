"""Singular-value spectra of the arms, overlaid, by layer and point of the run."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.present.bands import arm_legend
from muonlab.present.crowd import PALE, line_styles
from muonlab.present.measured import over_experts
from muonlab.present.style import (
    ArmStyle,
    finish,
    study_notes,
    use_style,
)
from muonlab.statistics.intervals import mean_interval

POINTS = {"start": "start", "matched": "matched loss", "end": "end"}


def spectra_figure(spectra: pd.DataFrame, study: dict) -> Figure:
    """A row for each matrix, a column for each point: singular values over their index.

    `spectra`: arm, seed, point, reached, object, tensor, component, metric, index, value. Lines are
    means over seeds, bands their intervals. Runs that did not come to the matched loss are left out
    of that column, whose titles say how many are in it. Stacked experts are shown by the mean of
    their ordered singular values.
    """
    use_style()
    values = spectra[(spectra.metric == "singular_values") & (spectra.object == "weight")]
    values = over_experts(values)
    tensors = list(dict.fromkeys(values.tensor))
    styles = line_styles(study["arms"])
    figure, axes = plt.subplots(
        len(tensors),
        len(POINTS),
        figsize=(8.4, 1.15 + 1.75 * len(tensors)),
        squeeze=False,
        sharex="row",
        sharey="row",
    )
    for row, tensor in zip(axes, tensors, strict=True):
        own = values[(values.tensor == tensor) & values.reached]
        for axis, point in zip(row, POINTS, strict=True):
            _spectra(axis, own[own.point == point], styles)
        row[0].set_ylabel(f"{_name(own, tensor)}\nsingular value")
        # By the means: the interval of two runs would hide every other line.
        means = own.groupby(["arm", "point", "index"]).value.mean()
        top = means[np.isfinite(means)].max() if np.isfinite(means).any() else 1.0
        row[0].set_ylim(0, 1.12 * top)
    for axis, (point, title) in zip(axes[0], POINTS.items(), strict=True):
        counts = values[(values.point == point) & values.reached].groupby("arm").seed.nunique()
        some = ", ".join(str(int(counts.get(arm, 0))) for arm in styles)
        axis.set_title(f"{title} (n = {some})" if point == "matched" else title)
    for axis in axes[-1]:
        axis.set_xlabel("index")
    arm_legend(figure, axes[0][0])
    notes = study_notes(study)
    notes.insert(1, "thin lines instead of a band: the single runs, where there are only two")
    finish(figure, f"{study['title']}: weight spectra", notes)
    return figure


def _spectra(axis: Axes, rows: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    for arm, style in styles.items():
        own = rows[rows.arm == arm].pivot(index="index", columns="seed", values="value")
        if own.empty:
            axis.plot([], [], **(style | {"marker": None}))
            continue
        x = own.index.to_numpy(dtype=float) + 1
        if style.colour == PALE:
            axis.plot(x, own.mean(axis=1, skipna=False), **(style | {"marker": None}))
            continue
        if own.shape[1] == 2:
            axis.plot(x, own.to_numpy(), color=style.colour, linewidth=0.6, alpha=0.6)
        intervals = [mean_interval(v) for v in own.to_numpy() if own.shape[1] > 2]
        axis.plot(x, own.mean(axis=1, skipna=False), **style, markersize=2.6, linewidth=1.3)
        if intervals:
            low, high = [i.low for i in intervals], [i.high for i in intervals]
            axis.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.margins(x=0.03)


def _name(rows: pd.DataFrame, tensor: str) -> str:
    component = rows.component.iloc[0] if len(rows) else ""
    return f"{tensor.removesuffix('.weight')} ({component})"
