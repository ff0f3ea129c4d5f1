"""Every pair of arms on every outcome, and all arms at once."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.achieved import at_levels, explained
from muonlab.report.outcomes import Outcomes
from muonlab.statistics import all_arms as arms
from muonlab.statistics.contrasts import contrasts as compare_pairs
from muonlab.statistics.contrasts import verdict
from muonlab.statistics.hypothesis_tests import holm

TUKEY = ["outcome", "arm_a", "arm_b", "difference", "low", "high", "p", "diverged", "reason"]


@table(
    section="tables",
    outputs={
        "contrasts": (
            "contrasts between arms",
            "Differences between arms (a − b) of **{title}** on *{data}* (protocol: {protocol}), "
            "over n = {n} seeds per arm, by {test}, with {interval} intervals. ``p_holm`` is "
            "corrected over the pairs of one outcome, not over outcomes. ``equivalent`` needs a "
            "declared smallest difference of interest (``sesoi``). ``mdd_80`` is the true "
            "difference that this many seeds would detect with a power of 80 %. Spectral outcomes "
            "are means over the hidden layers. At the points *loss 1* to *loss {levels}* a pair is "
            "compared at the loss ``level``, which every run of both arms passed, on the data that "
            "was measured; values are interpolated between the two snapshots beside it. "
            "``loss_difference`` is the difference of the losses that were really achieved: of the "
            "measured snapshots nearest to that level, and at the end of the losses there. "
            "Diverged runs do not count for the levels, and make the comparison *not estimable*. "
            "``compound`` pairs differ in more than one variable. ``edge``: a setting of either "
            "arm lies at the edge of what was tried.",
        ),
        "anova": (
            "analysis of variance",
            "All arms of **{title}** at once on *{data}* (protocol: {protocol}): one-way analysis "
            "of variance (Fisher's, with Welch's as the check) and Brown and Forsythe's test of "
            "equal variances. Arms are taken as independent samples, so seeds are not blocks here; "
            "the comparison by seed is in the table *contrasts between arms*. ``level`` is a loss "
            "that every run of all arms passed. What cannot be estimated is empty, with the "
            "reason.",
        ),
        "tukey": (
            "Tukey's comparisons",
            "Tukey's comparisons of all pairs of arms of **{title}** on *{data}* (protocol: "
            "{protocol}), with {interval} intervals. Arms are taken as independent samples, so "
            "seeds are not blocks here; the comparison by seed is in the table *contrasts between "
            "arms*. ``level`` is a loss that every run of all arms passed. What cannot be "
            "estimated is empty, with the reason.",
        ),
    },
)
def contrasts(
    outcomes: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    metrics: pd.DataFrame,
    pairs: Sequence[dict],
    study: dict,
    comparison: dict,
    spectra_records: pd.DataFrame | None = None,
    curvature_records: pd.DataFrame | None = None,
    quantization_records: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    measured = {
        "spectra": spectra_records,
        "curvature": curvature_records,
        "quantization": quantization_records,
    }
    measured = {name: records for name, records in measured.items() if records is not None}
    values = Outcomes(outcomes, runs, summaries, metrics, measured)
    anova, tukey = compare_all(values, outcomes, comparison)
    by_pair = compare(values, outcomes, pairs, study, comparison)
    return {"contrasts": by_pair, "anova": anova, "tukey": tukey}


def compare(
    values: Outcomes, outcomes: Sequence[dict], pairs: Sequence[dict], study: dict, plan: dict
) -> pd.DataFrame:
    """Every pair of arms on every outcome: `statistics.contrasts`, and the facts behind each row.

    `pairs`: a, b and the variables in which they differ; more than one makes the pair compound.
    `plan`: alpha and smallest_difference. At equal loss a pair is compared at losses that every run
    of the two arms passed. Unpaired studies are compared by Welch's test. Each outcome's pairs are
    one family of Holm's correction.
    """
    sesoi, paired = plan["smallest_difference"], study["training"]["paired"]
    names = [outcome["name"] for outcome in outcomes]
    # A single arm has no pairs; the table is then empty but still has its columns.
    tables = []
    if not pairs:
        own = values.of()
        tables = [at_levels(compare_pairs(own, [], names, plan["alpha"], sesoi), own, None)]
    for pair in pairs:
        couple = (pair["a"], pair["b"])
        own = values.of(couple)
        table = compare_pairs(own, [couple], names, plan["alpha"], sesoi, paired=paired)
        table = at_levels(table, own, couple)
        table["compound"] = len(pair["variables"]) > 1
        table["variables"] = ", ".join(pair["variables"])
        tables.append(table)
    table = _corrected(pd.concat(tables), names, plan["alpha"])
    return _described(table, outcomes, study)


def compare_all(
    values: Outcomes, outcomes: Sequence[dict], plan: dict
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Analysis of variance and Tukey's comparisons over all arms, at losses that all runs
    passed."""
    kept = values.of()
    names = [outcome["name"] for outcome in outcomes]
    tukey = arms.tukey(kept, names, plan["alpha"])
    if tukey.empty:
        tukey = pd.DataFrame(columns=TUKEY, dtype=object)
    level = kept.groupby("outcome")["level"].first()
    return tuple(
        _with_reason(explained(table, kept), outcomes).assign(level=table.outcome.map(level))
        for table in (arms.anova(kept, names), tukey)
    )


def _corrected(table: pd.DataFrame, names: Sequence[str], alpha: float) -> pd.DataFrame:
    """The table in the order of the outcomes, with Holm's correction over each outcome's pairs."""
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
    """The table with each outcome's description, warnings of settings at an edge, and reasons."""
    table = _with_reason(table, outcomes)
    on_edge = {arm["name"]: bool(arm["edges"]) for arm in study["arms"]}
    edge = table.arm_a.map(on_edge) | table.arm_b.map(on_edge)
    return table.assign(edge=edge, data=study["data"], protocol=study["protocol"])


def _with_reason(table: pd.DataFrame, outcomes: Sequence[dict]) -> pd.DataFrame:
    point = table.outcome.map({o["name"]: o["point"] for o in outcomes})
    label = table.outcome.map({o["name"]: o["label"] for o in outcomes})
    table.insert(1, "label", label)
    table.insert(2, "point", point)
    return table
