"""Outcomes of the runs as one tidy table, and the comparisons of all arms on them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.report.measured import HIDDEN, with_degradation, with_hidden_mean
from muonlab.statistics import all_arms as arms
from muonlab.statistics.contrasts import contrasts, verdict
from muonlab.statistics.hypothesis_tests import holm

TUKEY = ["outcome", "arm_a", "arm_b", "difference", "low", "high", "p", "diverged", "reason"]
NOT_REACHED = "Fewer than two seeds came to the matched loss."


def outcome_values(
    outcomes: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    matched: Sequence[dict],
    measured: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    """arm, seed, outcome, value, reached: one row for each run and outcome.

    `outcomes` as the plan lists them; `measured` holds the records of all runs by what was measured
    (`spectra`, `curvature`, `quantization`, none of which must be there). Spectral outcomes are
    means over the hidden layers' weight matrices.
    Steps to the matched loss are infinite for a run that never came there.
    """
    whole = _run_values(runs, summaries, matched)
    found = _measured_values(measured)
    rows = []
    for outcome in outcomes:
        if outcome["point"]:
            own = found[(found.quantity == outcome["quantity"]) & (found.point == outcome["point"])]
            own = own[
                (own.bits == outcome.get("bits", 0)) & (own.scheme == outcome.get("scheme", ""))
            ]
        else:
            own = whole[whole.quantity == outcome["name"]]
        rows.append(own[["arm", "seed", "value", "reached"]].assign(outcome=outcome["name"]))
    return pd.concat(rows, ignore_index=True)


def compare(
    values: pd.DataFrame, outcomes: Sequence[dict], pairs: Sequence[dict], study: dict, plan: dict
) -> pd.DataFrame:
    """Every pair of arms on every outcome: `statistics.contrasts`, and what it rests on.

    `pairs`: a, b and the variables in which they differ; more than one makes the pair compound.
    `plan`: alpha and smallest_difference. At matched loss a pair is compared on the seeds on which
    both arms came there; `left_out` counts the others. Unpaired studies are compared by Welch's
    test. Each outcome's pairs are one family of Holm's correction.
    """
    sesoi, paired = plan["smallest_difference"], study["training"]["paired"]
    names = [outcome["name"] for outcome in outcomes]
    # An arm alone has no pairs, and yet a table with its columns.
    tables = (
        [] if pairs else [contrasts(values, [], names, plan["alpha"], sesoi).assign(left_out=0)]
    )
    for pair in pairs:
        kept = _both_reached(values, pair["a"], pair["b"], paired)
        couple = [(pair["a"], pair["b"])]
        table = contrasts(kept, couple, names, plan["alpha"], sesoi, paired=paired)
        lost = values[~values.reached & values.arm.isin([pair["a"], pair["b"]])]
        table["left_out"] = table.outcome.map(lost.groupby("outcome").seed.nunique()).fillna(0)
        table["left_out"] = table.left_out.astype(int)
        table["compound"] = len(pair["variables"]) > 1
        table["variables"] = ", ".join(pair["variables"])
        tables.append(table)
    table = _corrected(pd.concat(tables), names, plan["alpha"])
    return _described(table, outcomes, study)


def compare_all(
    values: pd.DataFrame, outcomes: Sequence[dict], plan: dict
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Analysis of variance and Tukey's comparisons over all arms, on the runs that have a value."""
    kept = _reached(values)
    names = [outcome["name"] for outcome in outcomes]
    tukey = arms.tukey(kept, names, plan["alpha"])
    if tukey.empty:
        tukey = pd.DataFrame(columns=TUKEY, dtype=object)
    return tuple(_with_reason(table, outcomes) for table in (arms.anova(kept, names), tukey))


def _run_values(
    runs: Sequence[dict], summaries: Sequence[dict], matched: Sequence[dict]
) -> pd.DataFrame:
    rows = []
    for run, summary, match in zip(runs, summaries, matched, strict=True):
        values = {name: summary[name] for name in ("final_loss", "test_loss", "test_accuracy")}
        values["matched_step"] = match["step"] if match["reached"] else np.inf
        rows += [
            {"arm": run["arm"], "seed": run["seed"], "quantity": name, "reached": True}
            | {"value": np.nan if value is None else float(value)}
            for name, value in values.items()
        ]
    return pd.DataFrame(rows)


def _measured_values(measured: dict[str, pd.DataFrame]) -> pd.DataFrame:
    columns = ["arm", "seed", "point", "metric", "bits", "scheme", "value", "reached"]
    parts = [pd.DataFrame(columns=columns)]
    if "spectra" in measured:
        spectra = with_hidden_mean(measured["spectra"])
        spectra = spectra[(spectra.tensor == HIDDEN) & (spectra.object == "weight")]
        parts.append(spectra.assign(bits=0, scheme=""))
    if "curvature" in measured:
        curvature = measured["curvature"]
        parts.append(curvature[curvature["index"] == 0].assign(bits=0, scheme=""))
    if "quantization" in measured:
        quantized = with_degradation(measured["quantization"])
        parts.append(quantized[quantized.metric == "accuracy_drop"])
    found = [part[columns] for part in parts if len(part)] or parts
    return pd.concat(found).rename(columns={"metric": "quantity"})


def _reached(values: pd.DataFrame) -> pd.DataFrame:
    """Without runs that did not come to the matched loss; where an arm has such runs and fewer than
    two others, all of its values are missing, so that nothing is estimated from them."""
    reached = values.groupby(["arm", "outcome"]).reached
    enough = (reached.transform("sum") >= 2) | reached.transform("all")
    return values.assign(value=values.value.where(enough))[values.reached | ~enough]


def _both_reached(values: pd.DataFrame, a: str, b: str, paired: bool) -> pd.DataFrame:
    """`_reached` for one pair of arms; paired, a seed counts only if both arms came there."""
    own = values[values.arm.isin([a, b])]
    if paired:
        both = own.groupby(["seed", "outcome"]).reached.transform("all")
        own = own.assign(reached=both)
    return _reached(own)


def _corrected(table: pd.DataFrame, names: Sequence[str], alpha: float) -> pd.DataFrame:
    """The table in order of outcomes, with Holm's correction over each outcome's pairs."""
    families = []
    for name in names:
        family = table[table.outcome == name].copy()
        family["p_holm"], family["p_tost_holm"] = holm(family.p), holm(family.p_tost)
        triples = zip(family.difference, family.p_holm, family.p_tost_holm, strict=True)
        family["verdict"] = [verdict(*triple, alpha) for triple in triples]
        known = family.p_tost_holm.notna()
        family["equivalent"] = (family.p_tost_holm < alpha).astype(object).where(known, None)
        families.append(family)
    return pd.concat(families, ignore_index=True)


def _described(table: pd.DataFrame, outcomes: Sequence[dict], study: dict) -> pd.DataFrame:
    """With what each outcome is, the warnings of tuning's edges, and honest reasons."""
    table = _with_reason(table, outcomes)
    on_edge = {arm["name"]: bool(arm["edges"]) for arm in study["arms"]}
    edge = table.arm_a.map(on_edge) | table.arm_b.map(on_edge)
    return table.assign(edge=edge, data=study["data"], protocol=study["protocol"])


def _with_reason(table: pd.DataFrame, outcomes: Sequence[dict]) -> pd.DataFrame:
    point = table.outcome.map({o["name"]: o["point"] for o in outcomes})
    label = table.outcome.map({o["name"]: o["label"] for o in outcomes})
    table.insert(1, "label", label)
    table.insert(2, "point", point)
    unreached = (point == "matched") & table.reason.str.contains("diverged")
    table["reason"] = table.reason.mask(unreached, NOT_REACHED)
    table["reason"] = table.reason.mask(
        (table.outcome == "matched_step") & table.reason.str.contains("diverged"),
        "Not every run came to the matched loss; its steps there are infinite.",
    )
    return table
