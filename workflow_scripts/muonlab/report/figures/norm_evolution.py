"""How the spectral norm of each layer's matrices grows, beside a random walk."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.panels import by_component, layer_figure, tokens_per_step
from muonlab.report.style import MUTED


@figure(
    title="spectral norms",
    section="dynamics",
    caption="Spectral norm σ₁ of each layer's matrices over training on *{data}*, means over n = "
    "{n} seeds of the first two tuned arms; early layers are pale, late ones dark. The dotted line "
    "is the mean over layers of the σ₁ that a random walk with the same norms of updates would "
    "have. Protocol: {protocol}.",
)
def spectral_norms(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A row for each component, a column for each of two arms."""
    rows = list(by_component(layer_dynamics, "spectral_norm"))
    walk = "dotted: random walk with the same norms of updates, mean over layers"
    tokens = tokens_per_step(layer_dynamics)
    return layer_figure(rows, study, "spectral norm σ₁ by layer", tokens, _walk, [walk])


def _walk(axis: Axes, own: pd.DataFrame) -> None:
    walk = own.groupby("step").walk_norm.mean()
    axis.plot(walk.index, walk, color=MUTED, linewidth=1.2, linestyle=":")
