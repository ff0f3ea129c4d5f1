"""How the spectral entropy changes with depth and over training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.layers import components_of
from muonlab.report.panels import (
    component_grid,
    label_rows,
    last_records,
    main_arms,
    over_depth,
    words,
)
from muonlab.report.style import MUTED, finish, study_notes, use_style


@figure(
    title="entropy over depth",
    section="dynamics",
    caption="Spectral entropy of each layer's "
    "weights at the end of training on *{data}*, minus that "
    "at the start: means over n = {n} seeds, bands {interval} t intervals. Below the dotted line "
    "at 0 the spectrum has become more concentrated than the random initial one. Protocol: "
    "{protocol}.",
)
def entropy_depth(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: the gain of entropy over layers."""
    use_style()
    figure, panels = component_grid(components_of(layer_dynamics))
    over_depth(last_records(layer_dynamics), "entropy_gain", study, panels, study["alpha"])
    for axis in panels.values():
        axis.axhline(0, color=MUTED, linewidth=0.9, linestyle=":")
    label_rows(panels, "entropy − start")
    arm_legend(figure, next(iter(panels.values())))
    finish(figure, f"{study['title']}: spectral entropy over depth", study_notes(study))
    return figure


@figure(
    title="entropy map",
    section="dynamics",
    caption="Spectral entropy of each layer's weights over training on *{data}*, minus that at the "
    "start: means over n = {n} seeds of the first two tuned arms. Blue: more concentrated than at "
    "the start; red: flatter. Protocol: {protocol}.",
)
def entropy_map(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A row for each of two arms, a column for each component: layers over steps, in colour."""
    use_style()
    arms, components = main_arms(study), components_of(layer_dynamics)
    means = layer_dynamics.groupby(["arm", "component", "layer", "step"]).entropy_gain.mean()
    largest = float(np.nanmax(np.abs(means))) if means.notna().any() else 0.0
    figure, axes = plt.subplots(
        len(arms),
        len(components),
        figsize=(1.6 + 1.35 * len(components), 1.2 + 1.35 * len(arms)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    drawn = None
    for line, arm in zip(axes, arms, strict=True):
        for axis, component in zip(line, components, strict=True):
            if (arm["name"], component) in means.index.droplevel([2, 3]):
                drawn = _map(axis, means.loc[arm["name"], component], largest or 1.0)
            axis.grid(False)
        line[0].set_ylabel(f"{arm['label']}\nlayer")
    for axis, component in zip(axes[0], components, strict=True):
        axis.set_title(words(component), fontsize=8.5)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    finish(figure, f"{study['title']}: spectral entropy − start", study_notes(study, None))
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.015, aspect=25)
    return figure


def _map(axis, own: pd.Series, largest: float):
    """Cells around the recorded steps, whose distances may differ."""
    cells = own.unstack("step")
    drawn = axis.pcolormesh(
        cells.columns,
        cells.index,
        cells.to_numpy(),
        shading="nearest",
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
    )
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    return drawn
