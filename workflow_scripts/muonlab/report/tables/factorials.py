"""What two components of an optimizer contribute: four arms with both, either, or neither."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.factorials import MEAN, OUTCOME, final_losses
from muonlab.statistics.interaction import interaction_table
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.verdicts import verdict

ROLES = {
    "both": "full",
    "without_first": "without_a",
    "without_second": "without_b",
    "neither": "neither",
}
# The questions of a factorial, which are one family. All other effects follow from these.
ASKED = ("contribution", "difference of contributions", "synergy")
QUESTIONS = 4  # a contribution of each component, and the others
# Every effect as weights on the arms' mean losses, in the order of ROLES.
WEIGHTS = {
    ("contribution", 0): (-1, 1, 0, 0),
    ("contribution", 1): (-1, 0, 1, 0),
    ("alone", 0): (0, 0, -1, 1),
    ("alone", 1): (0, -1, 0, 1),
    ("main effect", 0): (-0.5, 0.5, -0.5, 0.5),
    ("main effect", 1): (-0.5, -0.5, 0.5, 0.5),
    ("difference of contributions", 0): (0, 1, -1, 0),
    ("synergy", 0): (-1, 1, 1, -1),
}


@table(
    section="tables",
    outputs={
        "factorials": (
            "factorials",
            "What two components of the optimizer are worth on *{data}*: final losses (nats) of "
            "four arms that have both, one of them, or neither, over n = {n} seeds per arm, paired "
            "by seed, with {interval} intervals. ``contribution`` is the rise of the loss when the "
            "component is removed from the arm with both, so a positive value means that it helps; "
            "``alone`` is the fall of the loss when it is added to neither; ``synergy`` is "
            "contribution minus alone, the same for both components: it is positive where removing "
            "both costs less than the sum of removing each. The four questions of a factorial "
            "(both contributions, their difference, the synergy) are one family: their intervals "
            "are simultaneous, and the ``verdict`` on whether the value is higher or lower than 0 "
            "is read off them. Other effects have intervals of their own and no verdict. Effects "
            "that involve a diverged run are left empty. Protocol: {protocol}.",
        ),
    },
)
def factorials(
    factorials: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    comparison: Mapping,
) -> pd.DataFrame:
    smallest = comparison["smallest_difference"].get(OUTCOME)
    return factorials_table(final_losses(runs, summaries), factorials, study, smallest)


def factorials_table(
    losses: pd.DataFrame, factorials: Sequence[dict], study: dict, smallest: float | None = None
) -> pd.DataFrame:
    """The effects of `statistics.interaction` and the four arms' mean losses, for each factorial.

    `losses`: arm, seed, outcome, value. `factorials`: label, the arms both, without_first,
    without_second and neither, and the components' names first and second. A contribution is the
    rise of the loss when the component is removed from the arm with both, so a positive value means
    that it helps. The questions of one factorial (both contributions, their difference, the
    synergy) are one family, as in contrasts.csv, which has the first three of them. `smallest` is
    the smallest difference of interest. A single seed gives values without intervals.
    """
    tables = [_effects(losses, factorial, study, smallest) for factorial in factorials]
    return pd.concat(tables, ignore_index=True)


def _effects(
    losses: pd.DataFrame, factorial: dict, study: dict, smallest: float | None
) -> pd.DataFrame:
    alpha = study["alpha"]
    arms = {role: factorial[field] for field, role in ROLES.items()}
    names = factorial["first"], factorial["second"]
    table = interaction_table(losses, arms, OUTCOME, names, alpha)
    own = losses.pivot(index="seed", columns="arm", values="value")[list(arms.values())]
    weights = np.array(list(WEIGHTS.values()))
    # An arm without a mean leaves only the effects that involve it without a value.
    parts = np.where(weights == 0, 0, weights * own.mean(skipna=False).to_numpy())
    table["value"] = parts.sum(axis=1)
    asked = table.effect.isin(ASKED)
    level = alpha / QUESTIONS
    together = interaction_table(losses, arms, OUTCOME, names, level)
    table.loc[asked, ["low", "high"]] = together.loc[asked, ["low", "high"]]
    table.loc[asked, "p_adjusted"] = np.minimum(1.0, QUESTIONS * table.p[asked])
    found = [
        verdict(row.value, row.low, row.high, row.n, alpha=level, smallest=smallest)
        for row in table.itertuples()
    ]
    table["verdict"] = np.where(asked, [one.word for one in found], "")
    table["needs_n"] = np.where(asked, [one.needs_n for one in found], np.nan)
    table["reason"] = [_reason(row, own) for row in table.itertuples()]
    means = [_mean_row(own[arm], role, factorial, alpha) for role, arm in arms.items()]
    table = pd.concat([table, pd.DataFrame(means)], ignore_index=True)
    table.insert(0, "factorial", factorial["label"])
    on_edge = {arm["name"]: bool(arm["edges"]) for arm in study["arms"]}
    table["arms"] = ", ".join(arms.values())
    table["edge"] = any(on_edge[arm] for arm in arms.values())
    return table.assign(outcome=OUTCOME, data=study["data"], protocol=study["protocol"])


def _reason(row, own: pd.DataFrame) -> str:
    if not np.isnan(row.p):
        return ""
    if row.diverged:
        return f"{row.diverged} of the {own.size} runs diverged."
    if row.n < 2:
        return "One seed: there is no interval."
    return "The effect is the same on every seed."


def _mean_row(values: pd.Series, role: str, factorial: dict, alpha: float) -> dict:
    component = {
        "full": "both",
        "without_a": f"without {factorial['first']}",
        "without_b": f"without {factorial['second']}",
        "neither": "neither",
    }[role]
    mean = mean_interval(values.to_numpy(), alpha)
    row = {"effect": MEAN, "component": component, "n": mean.n, "diverged": mean.diverged}
    row |= {"value": values.mean(skipna=False), "low": mean.low, "high": mean.high}
    return row | {"verdict": "", "reason": ""}
