"""Where the difference of two arms grows and where it vanishes: over sizes, batches, data …"""

from collections.abc import Mapping, Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.gains import cell_table, gain_table, level_losses, trend_table


@table(
    section="experiments",
    outputs={
        "gains": (
            "gains at each level",
            "The final loss of Muon minus AdamW (``gain``; below 0, Muon is better) of **{title}** "
            "at each level of what is varied beside the optimizer, paired by seed. Differences are "
            "taken within one level, never across: losses on other data or sequences of another "
            "length are other quantities. ``rate``: *as tuned* transfers the settings that tuning "
            "chose for the study; *bracketed* reads each seed at that multiple of the rate, "
            "separately for each arm, which has the lowest mean loss over the other seeds, and "
            "``edge`` names an arm whose best multiple is the outermost one. Intervals are "
            "{interval} intervals, simultaneous over the ``family_size`` differences of the "
            "``family`` *gains*; at the level that is the study itself the difference is that of "
            "the table of contrasts. Fewer than four seeds give no verdict, and their intervals "
            "hold *alone*. Protocol: {protocol}.",
        ),
        "gain_trends": (
            "trends of the gains",
            "How the difference Muon − AdamW of **{title}** changes with every doubling of the "
            "dose (``slope``, nats; below 0, Muon's lead grows): mean over seeds of each seed's "
            "least-squares slope over log₂ of the dose, with {interval} intervals that hold "
            "together over all trends, Spearman's ``rho`` and Page's test. *flat*: over all "
            "levels the difference changes by less than the smallest difference of interest; "
            "*rests on one level*: without some level the trend loses its sign. Where the rate is "
            "bracketed, the bracketed differences are used. Protocol: {protocol}.",
        ),
        "level_losses": (
            "losses at each level",
            "Mean final loss of each arm of **{title}** at each level of each factor and at each "
            "multiple of the rate that tuning chose, with {interval} t intervals over seeds. "
            "Losses of different levels are not compared here. ``stopped_early``: the share of "
            "runs whose lowest evaluation was before the last update, where stopping early would "
            "have ended lower. Protocol: {protocol}.",
        ),
    },
)
def gains(
    factor_runs: Sequence[dict],
    factor_summaries: Sequence[dict],
    factors: Mapping[str, dict],
    study: dict,
    comparison: Mapping,
    contrasts: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    losses = level_losses(factor_runs, factor_summaries)
    return {
        "gains": gain_table(losses, factors, study, comparison, contrasts),
        "gain_trends": trend_table(losses, factors, study, comparison),
        "level_losses": cell_table(losses, factors, study["alpha"]),
    }
