"""Whether the cost of a step is paid back: shared by the tables and the figure of overhead."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from muonlab.report.levels import diverged_runs, evaluated
from muonlab.statistics.cost_benefit import CostBenefit, cost_benefit


class Race(NamedTuple):
    """The lowest loss that all runs of two arms came to, NaN if there is none, and the steps that
    each run of an arm needed for it, by seed; inf for a run that diverged or if there is none."""

    loss: float
    steps: Mapping[str, pd.Series]


def race(
    curves: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Race:
    """`curves`: arm, seed, step, split, metric, value of the `runs` of the two arms, which have the
    `summaries`. Between two evaluations the loss is interpolated linearly."""
    split = study["training"]["evaluate_on"]
    losses = evaluated(curves, split, diverged_runs(runs, summaries))
    lowest = losses.levels(study["levels"])[-1:]
    found = losses.steps_to(lowest)
    steps = {
        arm: own.set_index("seed").step.sort_index().fillna(np.inf)
        for arm, own in found.groupby("arm", sort=False)
    }
    return Race(float(lowest[0]), steps)


def judged(profile: dict, run: Race, alpha: float) -> CostBenefit:
    """Compares the profile's first arm with its second, over the seeds of both."""
    arm, baseline = profile["arms"]
    steps, other = (run.steps[p["arm"]] for p in (arm, baseline))
    seconds = [p["seconds"]["step"] for p in (arm, baseline)]
    return cost_benefit(steps.to_numpy(), other.loc[steps.index].to_numpy(), *seconds, alpha)
