"""Singular-value decay of the arms' weights: one panel for each component, layers by shade."""

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.layers import components_of
from muonlab.report.levels import diverged_runs
from muonlab.report.measured import over_experts
from muonlab.report.panels import (
    MOST_LABELS,
    component_grid,
    label_rows,
    layer_bar,
    main_arms,
    shades,
)
from muonlab.report.style import MUTED, arm_styles, finish, log_axis, study_notes, use_style

LAYER = re.compile(r"layers\.(\d+)\.")  # how the name of a tensor in a layer begins
SMALLEST = 1e-4  # of σ/σ₁ that is shown


@figure(
    title="singular values",
    section="geometry",
    caption="Singular-value decay of the weights on *{data}*: σ/σ₁ over the index, at the end of "
    "training, one panel for each component. Lines are layers (early ones pale, late ones dark), "
    "as means over the n = {n} seeds whose runs did not diverge; colours are the first two tuned "
    "arms. Grey dashes: at the start, mean over layers. Whole spectra at equal loss are in the "
    "study's folder ``spectra``. Protocol: {protocol}.",
)
def spectra(
    spectra_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """A panel for each component: normalised singular values over their index, logarithmic.

    `spectra_records`: arm, seed, point, step, loss, object, tensor, component, metric, index,
    value. Stacked experts are shown by the mean of their ordered singular values.
    """
    use_style()
    values = relative(spectra_records, diverged_runs(runs, summaries))
    shown = main_arms(study)
    styles = arm_styles(study["arms"])
    figure, panels = component_grid(components_of(spectra_records))
    layers = sorted({layer for layer in values.layer.unique() if layer >= 0})
    for component, axis in panels.items():
        own = values[values.component == component]
        _start(axis, own[own.point == "start"])
        for arm in shown:
            rows = own[(own.arm == arm["name"]) & (own.point == "end")]
            _decay(axis, rows, styles[arm["name"]].colour, layers)
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, SMALLEST), high)
        if high / max(low, SMALLEST) < MOST_LABELS:
            log_axis(axis.yaxis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.set_xlabel("index")
    label_rows(panels, "σ / σ₁")
    _legend(figure, shown, styles, len(layers) > 1)
    notes = study_notes(study, "lines: means over seeds")
    notes.insert(1, "grey dashes: at the start, mean over layers")
    finish(figure, f"{study['title']}: singular-value decay", notes)
    if len(layers) > 1:
        layer_bar(figure, study, layers)
    return figure


def relative(records: pd.DataFrame, lost: frozenset) -> pd.DataFrame:
    """arm, point, component, layer (−1: in none), index, value: σ/σ₁ of the weights, as means over
    the seeds whose runs did not diverge. Zeros are left out."""
    values = records[(records.metric == "singular_values") & (records.object == "weight")]
    values = values[values.point.isin(["start", "end"])]
    if len(lost):
        keys = pd.Series(zip(values.arm, values.seed, strict=True), index=values.index)
        values = values[~keys.isin(lost)]
    values = over_experts(values)
    run = ["arm", "seed", "point", "tensor"]
    values = values.assign(value=values.value / values.groupby(run).value.transform("max"))
    found = values.tensor.str.extract(LAYER, expand=False)
    values = values.assign(layer=found.fillna(-1).astype(int))
    values = values[values.value > 0]
    keys = ["arm", "point", "component", "layer", "index"]
    return values.groupby(keys, sort=False).value.mean().reset_index()


def _start(axis: Axes, rows: pd.DataFrame) -> None:
    """All arms start alike: the mean over arms and layers."""
    mean = rows.groupby("index").value.mean()
    axis.plot(mean.index + 1, mean, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)


def _decay(axis: Axes, rows: pd.DataFrame, colour: str, layers: Sequence[int]) -> None:
    by_layer = dict(zip(layers, shades(colour, len(layers)), strict=True)) | {-1: colour}
    single = len(rows) and rows.layer.nunique() == 1
    for layer, own in rows.groupby("layer"):
        line = own.sort_values("index")
        shade = colour if single else by_layer[layer]
        axis.plot(line["index"] + 1, line.value, color=shade, linewidth=1.2)


def _legend(figure: Figure, arms: Sequence[dict], styles: dict, beside: bool) -> None:
    """The arms' names in their colours; `beside` leaves room for the shades of layers."""
    figure.legend(
        [Line2D([], [], color=styles[arm["name"]].colour, linewidth=2) for arm in arms],
        [arm["label"] for arm in arms],
        loc="upper right",
        ncols=len(arms) or 1,
        bbox_to_anchor=(1 - (2.4 if beside else 0.1) / figure.get_figwidth(), 1.0),
    )
