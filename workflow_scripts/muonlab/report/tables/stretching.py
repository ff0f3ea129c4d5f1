"""Hierarchical stretching as a test: does σ₁ grow with depth, and does it under Muon more?"""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.levels import diverged_runs
from muonlab.report.stretching import (
    pairs_of_optimizers,
    run_slopes,
    slope_contrasts,
    slope_table,
)


@table(
    section="dynamics",
    outputs={
        "stretching_slopes": (
            "slopes over depth and training",
            "Growth and stretching of the spectral norm in **{title}** on *{data}* (protocol: "
            "{protocol}), n = {n} seeds per arm. For each run and component, least squares over "
            "all layers and records: ln σ₁ = level + depth · (d − ½) + growth · τ + stretching · "
            "(d − ½) · τ, with d from 0 (first layer) to 1 (last) and τ from 0 to 1 over the "
            "tokens. ``growth`` is the change over training at half depth, ``stretching`` the "
            "change over training of the slope over depth. The quantity ``norm_excess`` is the "
            "same with σ₁ over that of a random walk whose updates have the same norms. Intervals "
            "over seeds are simultaneous {interval} intervals: all components of an arm are one "
            "family for each quantity and coefficient. The verdict says on which side of 0 the "
            "slope is.",
        ),
        "stretching": (
            "stretching between optimizers",
            "Differences a − b of the slopes of ``stretching_slopes`` between arms of **{title}** "
            "that differ in the optimizer alone, on *{data}* (protocol: {protocol}), over n = {n} "
            "paired seeds. All components of a pair are one family for each quantity and "
            "coefficient, whose {interval} intervals hold together.",
        ),
    },
)
def stretching(
    layer_dynamics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    pairs: Sequence[dict],
    study: dict,
) -> dict[str, pd.DataFrame]:
    slopes = run_slopes(layer_dynamics, diverged_runs(runs, summaries))
    contrasts = slope_contrasts(slopes, pairs_of_optimizers(pairs), study)
    return {"stretching_slopes": slope_table(slopes, study), "stretching": contrasts}
