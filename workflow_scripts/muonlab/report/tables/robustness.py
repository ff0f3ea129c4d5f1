"""How much the loss of each arm changes when one chosen setting is changed."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.statistics.basin import TOLERANCE, basin_contrast, basin_widths
from muonlab.statistics.perturbation import basin_table, perturbation_table, sensitivity_curve
from muonlab.statistics.run_table import matrix_by_seed, runs_by_arm

LOSS = "final_loss"


@table(
    section="tables",
    outputs={
        "robustness": (
            "changed settings",
            "How the loss of **{title}** changes when one chosen setting of an arm is multiplied "
            "by ``factor``: the loss with the change minus the loss without it, on the same seeds, "
            "with simultaneous {interval} intervals over the changes of one arm, from which the "
            "``verdict`` on the changed setting is read. For momentum, the distance from 1 is "
            "multiplied. Data: *{data}*, protocol: {protocol}.",
        ),
        "lr_sensitivity": (
            "loss around the chosen rate",
            "Loss of **{title}** at multiples of each arm's chosen learning rate, and its relative "
            "change against that rate on the same seeds: means with {interval} t intervals. Data: "
            "*{data}*, protocol: {protocol}.",
        ),
        "basins": (
            "width of the basin",
            "Width of the range of learning rates at which an arm of **{title}** stays within "
            "``tolerance`` of its lowest loss, in octaves (factors of two): means over seeds with "
            "{interval} t intervals. ``at_least``: on some seeds the range extends beyond the "
            "rates that were tried, so the width is a lower bound. Rows with ``against`` are "
            "paired differences between two arms, with intervals that hold together; fewer than "
            "four seeds give no verdict. Data: *{data}*, protocol: {protocol}.",
        ),
    },
)
def robustness(
    changed: Sequence[dict], changed_summaries: Sequence[dict], study: dict, comparison: Mapping
) -> dict[str, pd.DataFrame]:
    found = changed_runs(changed, changed_summaries)
    return {
        "robustness": robustness_table(found, study, comparison["smallest_difference"].get(LOSS)),
        "lr_sensitivity": lr_curves(found, study),
        "basins": basins(found, study),
    }


def changed_runs(rows: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """arm, field, factor, seed, value (the final loss, NaN where the run diverged), outcome.

    `rows` (arm, field, factor, seed) are the runs with one setting multiplied, and with factor 1
    and the field "" the reporting runs themselves.
    """
    values = [np.nan if s["diverged"] or s[LOSS] is None else float(s[LOSS]) for s in summaries]
    table = pd.DataFrame(rows, columns=["arm", "field", "factor", "seed"])
    return table.assign(value=values, outcome=LOSS)


def robustness_table(
    changed: pd.DataFrame, study: dict, smallest: float | None = None
) -> pd.DataFrame:
    """The paired change of the loss for every changed setting of every arm, with its interval and
    its verdict. The changes of one arm are one family."""
    alpha, tables = study["alpha"], []
    for arm in _arms(study, changed):
        own = changed[changed.arm == arm["name"]]
        named = own.assign(arm=[_name(*pair) for pair in zip(own.field, own.factor, strict=True)])
        pairs = own.loc[own.field != "", ["field", "factor"]].drop_duplicates()
        pairs = pairs.sort_values(["field", "factor"]).itertuples(index=False, name=None)
        found = perturbation_table(
            named, _name("", 1), {_name(*pair): pair for pair in pairs}, LOSS, alpha, smallest
        )
        found = found.drop(columns="arm")
        found.insert(0, "arm", arm["name"])
        found.insert(1, "variant", arm["label"])
        tables.append(found)
    table = pd.concat(tables, ignore_index=True)
    return table.assign(data=study["data"], protocol=study["protocol"])


def lr_curves(changed: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Loss over the factors on the chosen learning rate: `sensitivity_curve` of each arm."""
    tables = []
    for arm, (named, factors) in _lr_runs(changed, study).items():
        curve = sensitivity_curve(named, factors, LOSS, study["alpha"]).drop(columns="arm")
        curve.insert(0, "arm", arm)
        settings = next(a["settings"] for a in study["arms"] if a["name"] == arm)
        tables.append(curve.assign(lr=curve.factor * settings.get("lr", np.nan)))
    return pd.concat(tables, ignore_index=True).assign(data=study["data"])


def basins(changed: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Width of each arm's learning-rate basin (rates at which the loss is within 1 % of its
    lowest) in octaves, and of every pair of arms the paired difference and its verdict. The pairs
    are one family."""
    curves = _lr_runs(changed, study)
    alpha, rows, widths = study["alpha"], [], {}
    for arm, (named, factors) in curves.items():
        row = basin_table(named, {arm: factors}, LOSS, TOLERANCE, alpha).iloc[0].to_dict()
        rows.append({"arm": row.pop("curve"), "against": "", **row})
        arms = sorted(factors, key=factors.__getitem__)
        losses = matrix_by_seed(runs_by_arm(named, LOSS), arms)
        widths[arm] = basin_widths([factors[a] for a in arms], losses)
    order = study.get("order") or list(curves)[::-1]
    pairs = list(combinations(sorted(curves, key=order.index, reverse=True), 2))
    for a, b in pairs:
        found = basin_contrast(widths[a], widths[b], alpha / len(pairs))
        said = {"a wider": "wider", "b wider": "narrower"}.get(found.verdict, found.verdict)
        row = {"arm": a, "against": b, "n": len(widths[a].octaves)}
        row |= {"octaves": found.test.difference, "low": found.test.low, "high": found.test.high}
        row |= {"p": found.test.p, "verdict": said, "needs_n": found.needs_n}
        row["reason"] = found.reason
        rows.append(row)
    columns = ["arm", "against", "n", "octaves", "low", "high", "at_least", "cut_low", "cut_high"]
    columns += ["diverged", "p", "verdict", "needs_n", "reason"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(tolerance=TOLERANCE, data=study["data"], protocol=study["protocol"])


def _arms(study: dict, changed: pd.DataFrame) -> list[dict]:
    return [arm for arm in study["arms"] if arm["name"] in set(changed.arm)]


def _lr_runs(
    changed: pd.DataFrame, study: dict
) -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    """For each arm its runs at multiples of its learning rate, with each multiple as an arm of its
    own, and the factors of these arms."""
    found = {}
    for arm in _arms(study, changed):
        own = changed[(changed.arm == arm["name"]) & changed.field.isin(["lr", ""])]
        named = own.assign(arm=[_name("lr", factor) for factor in own.factor])
        found[arm["name"]] = named, {_name("lr", f): float(f) for f in own.factor.unique()}
    return found


def _name(field: str, factor: float) -> str:
    return f"{field} × {factor:g}"
