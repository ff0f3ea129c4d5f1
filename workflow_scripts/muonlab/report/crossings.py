"""When each run came to the losses that all runs of a study passed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.report.levels import diverged_runs, evaluated

UNITS = ("step", "tokens", "seconds")


def crossings(
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    count: int,
) -> pd.DataFrame:
    """arm, seed, point, level, and when the run came to that level: step, tokens and seconds.

    The step is interpolated between evaluations. Every update has as many tokens as any other, and
    seconds (of updates alone) are taken to pass evenly. Infinite for a diverged run; NaN where
    there is no loss that all runs passed, or where the run's record lacks the number.
    """
    curves = evaluated(metrics, summaries[0]["evaluated_on"], diverged_runs(runs, summaries))
    found = curves.steps_to(curves.levels(count)).drop(columns="nearest")
    shares = {"tokens": {}, "seconds": {}}
    for run, summary, provenance in zip(runs, summaries, provenances, strict=True):
        for unit, field in (("tokens", "tokens"), ("seconds", "seconds_in_updates")):
            whole = provenance.get(field)
            share = np.nan if whole is None else whole / max(summary["steps"], 1)
            shares[unit][run["arm"], run["seed"]] = share
    keys = list(zip(found.arm, found.seed, strict=True))
    for unit, of in shares.items():
        found[unit] = found.step * [of[key] for key in keys]
    return found


def by_run(table: pd.DataFrame) -> pd.DataFrame:
    """`crossings` with one row for each run (arm, seed) and the columns step_at_loss_1 …"""
    wide = table.set_index(["arm", "seed", "point"])[list(UNITS)].unstack("point")
    wide.columns = [f"{unit}_at_{point.replace(' ', '_')}" for unit, point in wide.columns]
    return wide
