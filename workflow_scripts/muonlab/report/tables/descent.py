"""What one update gains to first order and what curvature takes back, between optimizers."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.descent import descent_rows, descents
from muonlab.report.dynamics import COLUMNS
from muonlab.report.stretching import pairs_of_optimizers


@table(
    section="curvature",
    outputs={
        "descent": (
            "gain and curvature penalty of an update",
            "What the runs' own updates gain on one fixed training batch of *{data}* in "
            "**{title}** (protocol: {protocol}): the first-order gain −gᵀΔ, the curvature penalty "
            "½ΔᵀHΔ, its parts within and across layers, the normalized directional sharpness "
            "ΔᵀHΔ/‖Δ‖² and the norm ‖Δ‖, in evaluation mode and float64. Differences a − b "
            "between arms that differ in the optimizer alone, over n = {n} paired seeds, at the "
            "end and at losses of that batch that every run of both passed; {interval} intervals "
            "hold together over the points of a quantity. The claim (17) asks for the verdict "
            "``expected``, where there is one.",
        ),
    },
)
def descent(
    descent_records: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    pairs: Sequence[dict],
    study: dict,
) -> pd.DataFrame:
    found = descents(descent_records, runs, summaries)
    rows = descent_rows(found, pairs_of_optimizers(pairs), study)
    return pd.DataFrame(rows, columns=list(COLUMNS))
