"""The whole spectra of the weights at the start and at the end."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.layers import components_of
from muonlab.report.panels import component_grid, label_rows, main_arms
from muonlab.report.style import MUTED, arm_styles, finish, study_notes, use_style


@figure(
    title="initial and final spectra",
    section="dynamics",
    caption="Singular values of the weights on *{data}* at the start (grey) and at the end of "
    "training, for the first two tuned arms: lines are means over layers and n = {n} seeds, shaded "
    "is the range of the layers' means. Protocol: {protocol}.",
)
def initial_final_spectra(layer_geometry_records: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: singular values over their index, at the start and at the end."""
    use_style()
    values = layer_geometry_records[layer_geometry_records.metric == "singular_values"]
    last = values.groupby(["arm", "seed"]).step.transform("max")
    start, end = values[values.step == 0], values[(values.step == last) & (values.step > 0)]
    arms = main_arms(study)
    figure, panels = component_grid(components_of(values))
    for component, axis in panels.items():
        _spectrum(axis, start[start.component == component], MUTED, "start")
        for arm in arms:
            style = arm_styles(study["arms"])[arm["name"]]
            own = end[(end.component == component) & (end.arm == arm["name"])]
            _spectrum(axis, own, style.colour, f"{arm['label']}, end")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.set_xlabel("index")
    label_rows(panels, "singular value")
    arm_legend(figure, next(iter(panels.values())))
    notes = study_notes(study, "shaded: range of the layers' means")
    finish(figure, f"{study['title']}: initial and final spectra", notes)
    return figure


def _spectrum(axis: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    """The mean over seeds and layers of the ordered singular values, and the layers' range."""
    by_layer = rows.groupby(["layer", "index"]).value.mean().unstack("layer")
    mean = by_layer.mean(axis=1)
    x = np.asarray(mean.index, dtype=float) + 1
    axis.plot(x, mean, color=colour, linewidth=1.4, label=label)
    if len(by_layer):
        low, high = by_layer.min(axis=1), by_layer.max(axis=1)
        axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
