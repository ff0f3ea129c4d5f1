"""Singular-value spectra of the arms, overlaid, by layer and point of the run."""

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.achieved import at_loss
from muonlab.report.bands import arm_legend
from muonlab.report.crowd import PALE, legend_styles
from muonlab.report.levels import diverged_runs, points, with_levels
from muonlab.report.measured import over_experts
from muonlab.report.style import (
    ArmStyle,
    finish,
    study_notes,
    use_style,
)
from muonlab.statistics.intervals import mean_interval

# The name of a tensor in a layer: the layer's number, then its part, where layers have parts.
LAYER = re.compile(r"layers\.(\d+)\.(\w+\.)?")
MOST = 20  # up to this many tensors, all are shown


@figure(
    title="singular values",
    section="geometry",
    caption="Singular values of each weight matrix on *{data}*, at the start, at the lowest "
    "loss that every run passed (interpolated between snapshots) and at the end: means over n = "
    "{n} seeds per arm, bands {interval} t intervals; with only two runs, thin lines show the "
    "single runs instead. Diverged runs do not count for that loss and are left out of its "
    "column. With paired runs, all arms start from the same weights on each seed; otherwise their "
    "initial weights only have the same distribution. Protocol: {protocol}.",
)
def spectra(
    spectra_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """A row for each matrix, a column for each point: singular values over their index.

    `spectra_records`: arm, seed, point, step, loss, object, tensor, component, metric, index,
    value. Lines are means over seeds, bands their intervals. Stacked experts are shown by the mean
    of their ordered singular values.
    """
    use_style()
    values = spectra_records[spectra_records.metric == "singular_values"]
    values = over_experts(values[values.object == "weight"])
    keys, lost = ["tensor", "component", "index"], diverged_runs(runs, summaries)
    values = with_levels(values, keys, lost, study["levels"])
    lowest = points(study["levels"])[-1]
    level = values.level[values.point == lowest].iloc[0]
    shown = {"start": "start", lowest: at_loss(level), "end": "end"}
    values = values[values.value.notna() | (values.point != lowest)]
    tensors = _shown(list(dict.fromkeys(values.tensor)))
    styles = legend_styles(study["arms"])
    figure, axes = plt.subplots(
        len(tensors),
        len(shown),
        figsize=(8.4, 1.15 + 1.75 * len(tensors)),
        squeeze=False,
        sharex="row",
        sharey="row",
    )
    for row, tensor in zip(axes, tensors, strict=True):
        own = values[(values.tensor == tensor) & values.point.isin(shown)]
        for axis, point in zip(row, shown, strict=True):
            _overlay(axis, own[own.point == point], styles, study["alpha"])
        row[0].set_ylabel(f"{_name(own, tensor)}\nsingular value")
        # Limits follow the means: the interval of two runs would dwarf all lines.
        means = own.groupby(["arm", "point", "index"]).value.mean()
        top = means[np.isfinite(means)].max() if np.isfinite(means).any() else 1.0
        row[0].set_ylim(0, 1.12 * top)
    for axis, title in zip(axes[0], shown.values(), strict=True):
        axis.set_title(title)
    for axis in axes[-1]:
        axis.set_xlabel("index")
    arm_legend(figure, axes[0][0])
    notes = study_notes(study)
    notes.insert(1, "thin lines instead of a band: the single runs, where there are only two")
    if len(tensors) < values.tensor.nunique():
        notes.insert(2, "layers shown: the first, the middle one and the last")
    finish(figure, f"{study['title']}: weight spectra", notes)
    return figure


def _overlay(axis: Axes, rows: pd.DataFrame, styles: dict[str, ArmStyle], alpha: float) -> None:
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
        intervals = [mean_interval(v, alpha) for v in own.to_numpy() if own.shape[1] > 2]
        axis.plot(x, own.mean(axis=1, skipna=False), **style, markersize=2.6, linewidth=1.3)
        if intervals:
            low, high = [i.low for i in intervals], [i.high for i in intervals]
            axis.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.margins(x=0.03)


def _shown(tensors: list[str]) -> list[str]:
    """All tensors of a small model; of a deep model those of the first, middle and last layer."""
    layers = sorted({int(found[1]) for name in tensors if (found := LAYER.match(name))})
    if len(tensors) <= MOST or len(layers) <= 3:
        return tensors
    kept = {layers[0], layers[len(layers) // 2], layers[-1]}
    return [name for name in tensors if not (found := LAYER.match(name)) or int(found[1]) in kept]


def _name(rows: pd.DataFrame, tensor: str) -> str:
    component = rows.component.iloc[0] if len(rows) else ""
    inside = LAYER.match(tensor)
    if inside and inside[2]:
        return f"layer {inside[1]}, {component.replace('_', ' ')}"
    return f"{tensor.removesuffix('.weight')} ({component})"
