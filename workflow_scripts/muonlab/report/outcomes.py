"""Outcomes of the runs as one tidy table, and which of them count at the matched loss."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.report.measured import HIDDEN, with_degradation, with_hidden_mean


def outcome_values(
    outcomes: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    matched: Sequence[dict],
    measured: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    """arm, seed, outcome, value, reached: one row for each run and outcome.

    `outcomes` are listed by the plan; `measured` holds the records of all runs for each measurement
    (`spectra`, `curvature`, `quantization`, any of which may be missing). Spectral outcomes are
    means over the hidden layers' weight matrices.
    Steps to the matched loss are infinite for a run that did not reach it.
    """
    whole = _run_values(runs, summaries, matched)
    found = _measured_values(measured)
    rows = []
    for outcome in outcomes:
        if outcome["point"]:
            own = found[(found.quantity == outcome["quantity"]) & (found.point == outcome["point"])]
            own = own[
                (own.bits == outcome.get("bits", 0)) & (own.scheme == outcome.get("scheme", ""))
            ]
        else:
            own = whole[whole.quantity == outcome["name"]]
        rows.append(own[["arm", "seed", "value", "reached"]].assign(outcome=outcome["name"]))
    return pd.concat(rows, ignore_index=True)


def reached_alone(values: pd.DataFrame) -> pd.DataFrame:
    """The values without those of runs that did not reach the matched loss. Where that leaves an
    arm fewer than two runs, all of its values are set to missing, so that nothing is estimated."""
    reached = values.groupby(["arm", "outcome"]).reached
    enough = (reached.transform("sum") >= 2) | reached.transform("all")
    return values.assign(value=values.value.where(enough))[values.reached | ~enough]


def both_reached(values: pd.DataFrame, a: str, b: str, paired: bool) -> pd.DataFrame:
    """`reached_alone` for one pair of arms; if paired, a seed counts only where both arms reached
    the matched loss."""
    own = values[values.arm.isin([a, b])]
    if paired:
        both = own.groupby(["seed", "outcome"]).reached.transform("all")
        own = own.assign(reached=both)
    return reached_alone(own)


def _run_values(
    runs: Sequence[dict], summaries: Sequence[dict], matched: Sequence[dict]
) -> pd.DataFrame:
    rows = []
    for run, summary, match in zip(runs, summaries, matched, strict=True):
        values = {name: summary[name] for name in ("final_loss", "test_loss", "test_accuracy")}
        values["matched_step"] = match["step"] if match["reached"] else np.inf
        rows += [
            {"arm": run["arm"], "seed": run["seed"], "quantity": name, "reached": True}
            | {"value": np.nan if value is None else float(value)}
            for name, value in values.items()
        ]
    return pd.DataFrame(rows)


def _measured_values(measured: dict[str, pd.DataFrame]) -> pd.DataFrame:
    columns = ["arm", "seed", "point", "metric", "bits", "scheme", "value", "reached"]
    parts = [pd.DataFrame(columns=columns)]
    if "spectra" in measured:
        spectra = with_hidden_mean(measured["spectra"])
        spectra = spectra[(spectra.tensor == HIDDEN) & (spectra.object == "weight")]
        parts.append(spectra.assign(bits=0, scheme=""))
    if "curvature" in measured:
        curvature = measured["curvature"]
        parts.append(curvature[curvature["index"] == 0].assign(bits=0, scheme=""))
    if "quantization" in measured:
        quantized = with_degradation(measured["quantization"])
        parts.append(quantized[quantized.metric == "accuracy_drop"])
    found = [part[columns] for part in parts if len(part)] or parts
    return pd.concat(found).rename(columns={"metric": "quantity"})
