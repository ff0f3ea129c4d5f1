"""What two components of an optimizer contribute: four arms with both, either, or neither."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.factorials import MEAN, OUTCOME, final_losses
from muonlab.statistics.hypothesis_tests import holm
from muonlab.statistics.interaction import interaction_table
from muonlab.statistics.intervals import mean_interval

ROLES = {
    "both": "full",
    "without_first": "without_a",
    "without_second": "without_b",
    "neither": "neither",
}
# The questions of a factorial, over which Holm's correction is made. All other effects follow from
# these.
ASKED = ("contribution", "difference of contributions", "synergy")
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
            "both costs less than the sum of removing each. ``p_holm`` is corrected over the four "
            "questions of a factorial: both contributions, their difference, the synergy. Effects "
            "that involve a diverged run are left empty. Protocol: "
            "{protocol}.",
        ),
    },
)
def factorials(
    factorials: Sequence[dict], runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> pd.DataFrame:
    return factorials_table(final_losses(runs, summaries), factorials, study)


def factorials_table(losses: pd.DataFrame, factorials: Sequence[dict], study: dict) -> pd.DataFrame:
    """The effects of `statistics.interaction` and the four arms' mean losses, for each factorial.

    `losses`: arm, seed, outcome, value. `factorials`: label, the arms both, without_first,
    without_second and neither, and the components' names first and second. A contribution is the
    rise of the loss when the component is removed from the arm with both, so a positive value means
    that it helps. `p_holm` is corrected over the questions of one factorial: both contributions,
    their difference, the synergy. A single seed gives values without intervals.
    """
    tables = [_effects(losses, factorial, study) for factorial in factorials]
    return pd.concat(tables, ignore_index=True)


def _effects(losses: pd.DataFrame, factorial: dict, study: dict) -> pd.DataFrame:
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
    table.loc[asked, "p_holm"] = holm(table.p[asked])
    table["verdict"] = np.where(asked, _verdicts(table, alpha), "")
    table["reason"] = [_reason(row, own) for row in table.itertuples()]
    means = [_mean_row(own[arm], role, factorial, alpha) for role, arm in arms.items()]
    table = pd.concat([table, pd.DataFrame(means)], ignore_index=True)
    table.insert(0, "factorial", factorial["label"])
    on_edge = {arm["name"]: bool(arm["edges"]) for arm in study["arms"]}
    table["arms"] = ", ".join(arms.values())
    table["edge"] = any(on_edge[arm] for arm in arms.values())
    return table.assign(outcome=OUTCOME, data=study["data"], protocol=study["protocol"])


def _verdicts(table: pd.DataFrame, alpha: float) -> list[str]:
    words = []
    for row in table.itertuples():
        if np.isnan(row.p):
            words.append("not estimable")
        elif row.p_holm >= alpha:
            words.append("undecided")
        else:
            words.append("positive" if row.value > 0 else "negative")
    return words


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
