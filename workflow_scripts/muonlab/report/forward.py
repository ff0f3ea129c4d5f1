"""Records of components by layer, in the form that figures about layers draw."""

from collections.abc import Iterator, Sequence

import pandas as pd

ALL, FORWARD = "all", "forward"  # rows about all tensors, and about the forward pass


def of_component(records: pd.DataFrame, component: str, metric: str) -> pd.DataFrame:
    """arm, seed, step, layer, value of one metric of a component in each layer."""
    own = records[(records.component == component) & (records.metric == metric)]
    return own[own.layer.notna() & own["index"].isna()]


def of_metrics(
    records: pd.DataFrame, component: str, metrics: dict[str, str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(label, records) for each metric that the records have, by `metrics` (name: label)."""
    for metric, label in metrics.items():
        own = of_component(records, component, metric)
        if len(own):
            yield label, own


def tokens_of_an_update(summaries: Sequence[dict], provenances: Sequence[dict]) -> float:
    """Tokens of one update of the first run that made any; NaN if none did."""
    for summary, provenance in zip(summaries, provenances, strict=True):
        if summary["steps"]:
            return provenance["tokens"] / summary["steps"]
    return float("nan")
