"""How the entries of the gradient are distributed over depth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.layers import components_of
from muonlab.report.measured import HIDDEN_COMPONENTS
from muonlab.report.panels import component_grid, label_rows, last_records, main_arms
from muonlab.report.style import ArmStyle, arm_styles, finish, study_notes, use_style

LOW, MIDDLE, HIGH = 0.01, 0.5, 0.99


@figure(
    title="gradient distributions",
    section="dynamics",
    caption="Distribution of the absolute "
    "entries |g| of the gradient before clipping in each layer, "
    "at the last record of training on *{data}*: line, the median; shaded, from the 1 % to the 99 "
    "% quantile; thin line, the largest. Geometric means over n = {n} seeds of the first two "
    "tuned arms. Protocol: {protocol}.",
)
def gradient_distribution(gradient_records: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: quantiles of |g| over layers, logarithmic."""
    use_style()
    own = gradient_records[gradient_records.component.isin(HIDDEN_COMPONENTS)]
    own = last_records(own[own.layer.notna()])
    figure, panels = component_grid(components_of(own))
    for component, axis in panels.items():
        for arm in main_arms(study):
            style = arm_styles(study["arms"])[arm["name"]]
            _quantiles(axis, own[(own.component == component) & (own.arm == arm["name"])], style)
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.set_xlabel("layer")
    label_rows(panels, "|g|")
    if panels:
        arm_legend(figure, next(iter(panels.values())))
    notes = study_notes(study, "shaded: 1 % to 99 % of the entries, thin: the largest")
    finish(figure, f"{study['title']}: distribution of gradient entries", notes)
    return figure


def _quantiles(axis: Axes, rows: pd.DataFrame, style: ArmStyle) -> None:
    with np.errstate(divide="ignore"):
        logs = rows.assign(value=np.log(rows.value.where(rows.value > 0)))
    means = logs.groupby(["quantile", "layer"]).value.mean()
    curves = {q: np.exp(means.loc[q]) for q in means.index.get_level_values(0).unique()}
    line = {key: value for key, value in style.items() if key != "marker"}
    axis.plot(*_points(curves, MIDDLE), **(line | {"linewidth": 1.4}))
    axis.plot(*_points(curves, 1.0), color=style.colour, linewidth=0.7)
    if {LOW, HIGH} <= set(curves):
        x, low = _points(curves, LOW)
        axis.fill_between(x, low, curves[HIGH], color=style.colour, alpha=0.16, linewidth=0)


def _points(curves: dict, quantile: float) -> tuple:
    curve = curves.get(quantile, pd.Series(dtype=float))
    return curve.index.to_numpy(), curve.to_numpy()
