"""The differences of two arms at each level of what is varied beside the optimizer, and their
trends."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from muonlab.report.comparisons import compared
from muonlab.report.records import loss_of
from muonlab.statistics.bracket import cross_fitted
from muonlab.statistics.gain_trend import gain_trend
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.paired import Paired, paired
from muonlab.statistics.verdicts import MIN_SEEDS

LOSS = "final_loss"
TUNED, BRACKETED = "as tuned", "bracketed"
PARAMETERS = "parameters"


class Level(NamedTuple):
    """The losses of two arms at one level: (seeds, factors on the rate) each."""

    a: np.ndarray
    b: np.ndarray


def level_losses(rows: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """factor, level, arm, lr_factor, seed, value (the final loss, NaN where the run diverged),
    parameters, updates, and the update of the lowest evaluation of each run."""
    table = pd.DataFrame(rows)
    table["value"] = [loss_of(summary, LOSS) for summary in summaries]
    table["parameters"] = [summary["parameters"] for summary in summaries]
    table["updates"] = [summary["steps"] for summary in summaries]
    table["best_step"] = [summary.get("best_step") for summary in summaries]
    return table


def levels_of(losses: pd.DataFrame, factor: str, facts: Mapping) -> dict[str, Level]:
    """The losses at each level of a factor, seeds in order. A seed is a row of both arms."""
    found = {}
    for level in facts["levels"]:
        own = losses[(losses.factor == factor) & (losses.level == level)]
        sides = [
            own[own.arm == arm].pivot(index="seed", columns="lr_factor", values="value")
            for arm in facts["arms"]
        ]
        columns = [side[sorted(side)].to_numpy() for side in sides]
        found[level] = Level(*columns)
    return found


def cell_table(losses: pd.DataFrame, factors: Mapping, alpha: float) -> pd.DataFrame:
    """One row for each level, arm and factor on the rate: n, mean, low, high, diverged, and
    stopped_early, the share of runs whose lowest evaluation was before the last update."""
    keys, rows = ["factor", "level", "arm", "lr_factor"], []
    for group, own in losses.groupby(keys, sort=False):
        mean = mean_interval(own.value.to_numpy(), alpha)
        facts = factors[group[0]]["levels"][group[1]]
        row = dict(zip(keys, group, strict=True)) | {"label": facts["label"], "data": facts["data"]}
        row |= {"parameters": own.parameters.iloc[0], "updates": own.updates.iloc[0]}
        row |= {"n": mean.n, "mean": mean.mean, "sd": mean.sd, "low": mean.low, "high": mean.high}
        early = own.best_step.astype(float) < own.updates
        rows.append(row | {"diverged": mean.diverged, "stopped_early": early.mean()})
    return pd.DataFrame(rows)


def gain_table(
    losses: pd.DataFrame, factors: Mapping, study: dict, plan: Mapping, contrasts: pd.DataFrame
) -> pd.DataFrame:
    """The difference of each factor's two arms at each level, one row for each way of setting the
    rate: as it was tuned and, where it is bracketed, at the factor that the other seeds choose.

    All differences over four seeds or more that are not already in `contrasts` are one `family`.
    Those that are, at the level which is the study itself, are taken from there, so that they have
    one verdict everywhere. Fewer seeds give no verdict, so they take no share of the level: their
    intervals hold alone.
    """
    rows = list(_gains(losses, factors))
    kept = [_known(row, contrasts) for row in rows]
    judged = [k is None and len(r["a"]) >= MIN_SEEDS for r, k in zip(rows, kept, strict=True)]
    smallest = plan["smallest_difference"].get(LOSS)
    found = []
    for row, known, shares in zip(rows, kept, judged, strict=True):
        a, b = row.pop("a"), row.pop("b")
        size = sum(judged) if shares else 1
        one = known or paired(a, b, study["alpha"], size, smallest, better="lower")
        family = "contrasts" if known else ("gains" if shares else "alone")
        facts = {"n": one.n, "family": family, "family_size": np.nan if known else size}
        found.append(row | facts | one.columns("gain"))
    return pd.DataFrame(found).assign(protocol=study["protocol"])


def _gains(losses: pd.DataFrame, factors: Mapping) -> Iterator[dict]:
    for name, facts in factors.items():
        rates = sorted(facts["lr_factors"])
        for level, sides in levels_of(losses, name, facts).items():
            own = losses[(losses.factor == name) & (losses.level == level)].iloc[0]
            told = facts["levels"][level]
            row = {"factor": name, "factor_label": facts["label"], "level": level}
            row |= {"label": told["label"], "data": told["data"], "dose": dose_of(facts, told, own)}
            row |= {"parameters": own.parameters, "updates": own.updates, "own": told["own"]}
            row |= dict(zip(("arm_a", "arm_b"), facts["arms"], strict=True))
            at = rates.index(1.0)
            yield row | {"rate": TUNED, "edge": "", "a": sides.a[:, at], "b": sides.b[:, at]}
            if len(rates) > 1:
                best = [cross_fitted(side) for side in sides]
                named = zip(facts["arms"], best, strict=True)
                ends = (0, len(rates) - 1)
                edges = [f"{arm} × {rates[b.best]:g}" for arm, b in named if b.best in ends]
                values = {"a": best[0].values, "b": best[1].values}
                yield row | {"rate": BRACKETED, "edge": ", ".join(edges)} | values


def dose_of(facts: Mapping, level: Mapping, run) -> float:
    """The dose of a level; NaN where its factor has none."""
    if facts["dose"] == PARAMETERS:
        return float(run.parameters)
    return np.nan if level["dose"] is None else float(level["dose"])


def _known(row: Mapping, contrasts: pd.DataFrame) -> Paired | None:
    """The comparison of the study's own arms, over all of its seeds, if `contrasts` has it."""
    if not row["own"] or row["rate"] != TUNED:
        return None
    return compared(contrasts, LOSS, row["arm_a"], row["arm_b"])


def trend_table(losses: pd.DataFrame, factors: Mapping, study: dict, plan: Mapping) -> pd.DataFrame:
    """One row for each factor with doses: how the difference of the arms changes with every
    doubling of the dose. Those over four seeds or more are one family. Where the rate is
    bracketed, the differences are those at the rates that the other seeds choose."""
    rows = []
    for name, facts in factors.items():
        levels = levels_of(losses, name, facts)
        own = {level: losses[(losses.factor == name) & (losses.level == level)] for level in levels}
        doses = [dose_of(facts, facts["levels"][n], own[n].iloc[0]) for n in levels]
        if not np.isfinite(doses).all():
            continue
        gains = [cross_fitted(x.a).values - cross_fitted(x.b).values for x in levels.values()]
        rows.append((name, facts, doses, np.column_stack(gains)))
    family = max(1, sum(len(gains) >= MIN_SEEDS for *_, gains in rows))
    smallest, found = plan["smallest_difference"].get(LOSS), []
    for *facts, gains in rows:
        size = family if len(gains) >= MIN_SEEDS else 1
        row = _trend_row(*facts, gains, study["alpha"] / size, smallest)
        found.append(row | {"family_size": size})
    return pd.DataFrame(found, columns=TREND_COLUMNS).assign(protocol=study["protocol"])


TREND_COLUMNS = ["factor", "factor_label", "arm_a", "arm_b", "levels", "n", "slope", "slope_low"]
TREND_COLUMNS += ["slope_high", "p_slope", "rho", "p_page", "verdict", "reason"]
TREND_COLUMNS += ["family_size"]


def _trend_row(
    name: str, facts: Mapping, doses: list[float], gains: np.ndarray, alpha: float, smallest
) -> dict:
    found = gain_trend(doses, gains, alpha, smallest)
    row = {"factor": name, "factor_label": facts["label"], "levels": len(doses)}
    row |= dict(zip(("arm_a", "arm_b"), facts["arms"], strict=True))
    row |= {k: getattr(found.response, k) for k in ("n", "slope", "slope_low", "slope_high")}
    row |= {k: getattr(found.response, k) for k in ("p_slope", "rho", "p_page")}
    return row | {"verdict": found.verdict, "reason": found.reason}
