"""Whether the cost of a step is paid back: shared by the tables and the figure of overhead."""

import pandas as pd

from muonlab.statistics.cost_benefit import CostBenefit, cost_benefit
from muonlab.statistics.speedup import time_to


def steps_to_target(curves: pd.DataFrame, arm: str, study: dict) -> pd.Series:
    """Steps that each run of an arm needed to reach the matched loss, by seed; inf if it never did.

    `curves`: arm, seed, step, split, metric, value. Between two evaluations the loss is
    interpolated linearly.
    """
    own = curves[(curves.arm == arm) & (curves.metric == "loss")]
    own = own[own.split == study["training"]["evaluate_on"]]
    return pd.Series(
        {
            seed: float(time_to(run.step.to_numpy(), run.value.to_numpy(), study["target_loss"]))
            for seed, run in own.sort_values("step").groupby("seed")
        }
    )


def judged(profile: dict, curves: pd.DataFrame, study: dict, alpha: float) -> CostBenefit:
    """Compares the profile's first arm with its second, over the seeds of both."""
    arm, baseline = profile["arms"]
    steps, other = (steps_to_target(curves, p["arm"], study) for p in (arm, baseline))
    seconds = [p["seconds"]["step"] for p in (arm, baseline)]
    return cost_benefit(steps.to_numpy(), other.loc[steps.index].to_numpy(), *seconds, alpha)
