"""Activations and attention logits by layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.forward import FORWARD, of_metrics, tokens_of_an_update
from muonlab.report.panels import layer_figure

METRICS = {
    "activation_rms": "residual stream\nRMS",
    "activation_max": "residual stream\nlargest",
    "attention_output_rms": "attention adds\nRMS",
    "feedforward_output_rms": "feed-forward\nadds, RMS",
    "attention_logit_max": "largest\nattention logit",
}


@figure(
    title="activations by layer",
    section="dynamics",
    caption="Activations of each layer over "
    "training on *{data}*: root mean square and largest value "
    "of the residual stream after the layer, root mean square of what its attention and its "
    "feed-forward part add, and the largest absolute attention logit. Means over n = {n} seeds of "
    "the first two tuned arms; early layers are pale, late ones dark. Protocol: {protocol}.",
)
def activations(
    layer_component_records: pd.DataFrame,
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
) -> Figure:
    """A row for each statistic of the forward pass, a column for each of two arms."""
    rows = list(of_metrics(layer_component_records, FORWARD, METRICS))
    return layer_figure(
        rows, study, "activations by layer", tokens_of_an_update(summaries, provenances)
    )
