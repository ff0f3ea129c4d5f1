"""Norms of weights and updates by layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.forward import ALL, of_metrics, tokens_of_an_update
from muonlab.report.panels import layer_figure

METRICS = {
    "weight_norm": "weight norm",
    "update_norm": "update norm",
    "relative_update": "‖ΔW‖ / ‖W‖",
}


@figure(
    title="weights and updates by layer",
    section="dynamics",
    caption="Norms of the weights and of single updates of each layer, all its tensors together, "
    "and their ratio, the effective learning rate, over training on *{data}*: means over n = {n} "
    "seeds of the first two tuned arms; early layers are pale, late ones dark. Protocol: "
    "{protocol}.",
)
def layer_norms(
    layer_component_records: pd.DataFrame,
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
) -> Figure:
    """A row for each size, a column for each of two arms."""
    rows = list(of_metrics(layer_component_records, ALL, METRICS))
    return layer_figure(rows, study, "sizes by layer", tokens_of_an_update(summaries, provenances))
