"""Claim 17 of the sources: what one update gains and what curvature takes back, at equal loss."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.dynamics import compared_rows
from muonlab.report.levels import Along, along, diverged_runs
from muonlab.statistics.verdicts import LOWER

CURVATURE = 17
# The quantities, what they are called, and the verdict on Muon − AdamW that the claim asks for; ""
# where the claim is only that there is no such difference.
QUANTITIES = {
    "penalty": ("curvature penalty of an update", LOWER),
    "sharpness": ("normalized directional sharpness", LOWER),
    "gain": ("first-order gain of an update", ""),
    "within": ("penalty within layers", ""),
    "across": ("penalty across layers", ""),
    "norm": ("norm of an update", ""),
}


def descents(records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict]) -> Along:
    """The quantities of updates along the loss of the batch that they were measured on."""
    own = records.rename(columns={"metric": "quantity"})
    return along(own, diverged_runs(runs, summaries))


def descent_rows(found: Along, pairs: Sequence[tuple[str, str]], study: Mapping) -> Iterator[dict]:
    """Comparisons of the arms of each pair at the end and at losses that all of their runs
    passed; the points of a quantity are one family."""
    for pair in pairs:
        levels = found.at(found.levels(study["levels"], pair), pair)
        for quantity, (name, expected) in QUANTITIES.items():
            points = {"end": _ends(found, pair, quantity)}
            for point, own in levels.groupby("point", sort=False):
                points[point] = own.assign(value=own[quantity])
            yield from compared_rows(CURVATURE, name, points, pair, study, expected)


def _ends(found: Along, pair: tuple[str, str], quantity: str) -> pd.DataFrame:
    """The values of both arms at the end; NaN for a run that diverged."""
    rows = [
        {"arm": arm, "seed": seed}
        | {"value": np.nan if (arm, seed) in found.diverged else own[quantity].iloc[-1]}
        for (arm, seed), own in found.runs.items()
        if arm in pair
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "value"])
