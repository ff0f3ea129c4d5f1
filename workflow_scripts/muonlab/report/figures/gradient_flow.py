"""How the gradient flows through the layers, by component."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.measure.stability import EXPLODING, VANISHING
from muonlab.report.forward import ALL, of_component, tokens_of_an_update
from muonlab.report.layers import components_of
from muonlab.report.measured import HIDDEN_COMPONENTS
from muonlab.report.panels import layer_figure, words
from muonlab.report.style import MUTED


@figure(
    title="gradient flow",
    section="dynamics",
    caption="Norm of the gradient before clipping of each layer, and of each component in it, over "
    "training on *{data}*: means over n = {n} seeds of the first two tuned arms; early layers are "
    "pale, late ones dark. A dotted line marks the limit of vanishing (1e-7) or exploding (1000) "
    "gradients where a norm passes it. Protocol: {protocol}.",
)
def gradient_flow(
    layer_component_records: pd.DataFrame,
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
) -> Figure:
    """A row for all tensors of a layer and for each component, a column for each of two arms."""
    records = layer_component_records
    hidden = records[records.component.isin(HIDDEN_COMPONENTS) & records.layer.notna()]
    rows = [("all tensors", of_component(records, ALL, "gradient_norm"))]
    rows += [(words(c), of_component(records, c, "gradient_norm")) for c in components_of(hidden)]
    tokens = tokens_of_an_update(summaries, provenances)
    return layer_figure(rows, study, "gradient norm by layer", tokens, mark=_limits)


def _limits(axis: Axes, own: pd.DataFrame) -> None:
    """Marks a limit that a recorded norm passes."""
    for limit, passed in ((VANISHING, own.value < VANISHING), (EXPLODING, own.value > EXPLODING)):
        if passed.any():
            axis.axhline(limit, color=MUTED, linewidth=1, linestyle=":")
