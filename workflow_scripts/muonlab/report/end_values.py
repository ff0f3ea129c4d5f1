"""Outcomes of runs at the end of training by name, as one tidy table."""

from collections.abc import Sequence

import pandas as pd

from muonlab.report.measured import FULL, hidden_mean
from muonlab.report.records import loss_of

SUMMARY = ("final_loss", "final_accuracy", "test_loss", "test_accuracy")
END = "end"
COLUMNS = ["arm", "seed", "outcome", "value"]


def end_values(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    spectra: pd.DataFrame | None = None,
    curvature: pd.DataFrame | None = None,
    quantization: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """arm, seed, outcome, value; a missing value is NaN, an outcome without records has no rows.

    Outcomes: those of SUMMARY; step_seconds (of an update, after warm-up); <metric>_end of the
    spectra (mean over the hidden layers' weights) and of the curvature (largest eigenvalue);
    accuracy_int<bits>_<scheme>_end of quantized weights.
    """
    rows = []
    for run, summary, provenance in zip(runs, summaries, provenances, strict=True):
        found = {name: loss_of(summary, name) for name in SUMMARY if name in summary}
        found["step_seconds"] = provenance.get("step_seconds")
        rows += [
            {"arm": run["arm"], "seed": run["seed"], "outcome": name, "value": value}
            for name, value in found.items()
        ]
    tables = [pd.DataFrame(rows, columns=COLUMNS)]
    if spectra is not None and len(spectra):
        means = hidden_mean(spectra)
        means = means[means.object == "weight"]
        tables.append(_at_end(means, means.metric + "_end"))
    if curvature is not None and len(curvature):
        largest = curvature[curvature["index"] == 0]
        tables.append(_at_end(largest, largest.metric + "_end"))
    if quantization is not None and len(quantization):
        own = quantization[(quantization.tensor == "all") & (quantization.scheme != FULL)]
        own = own[own.metric == "accuracy"]
        bits = own.bits.astype(int).astype(str)
        tables.append(_at_end(own, "accuracy_int" + bits + "_" + own.scheme + "_end"))
    return pd.concat(tables, ignore_index=True)


def _at_end(records: pd.DataFrame, outcome: pd.Series) -> pd.DataFrame:
    own = records.assign(outcome=outcome)
    return own.loc[own.point == END, COLUMNS]
