"""Every pair of arms on every outcome, and all arms at once."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.outcomes import both_reached, outcome_values, reached_alone
from muonlab.statistics import all_arms as arms
from muonlab.statistics.contrasts import contrasts as compare_pairs
from muonlab.statistics.families import Families

TUKEY = ["outcome", "arm_a", "arm_b", "difference", "low", "high", "p", "diverged", "reason"]
NOT_REACHED = "Fewer than two seeds reached the matched loss."
INFINITE_STEPS = "Not every run reached the matched loss; its number of steps is infinite."


@table(
    section="tables",
    outputs={
        "contrasts": (
            "contrasts between arms",
            "Differences between arms (a − b; where one arm is AdamW, it is b) of **{title}** on "
            "*{data}* (protocol: {protocol}), over n = {n} seeds per arm, by {test}. ``family``: "
            "each claim that the config declares is one family of ``family_size`` comparisons, and "
            "so are the questions of each factorial and the comparisons of a ranking; all other "
            "comparisons on one outcome are one family, called exploratory. "
            "``low`` and ``high`` are simultaneous {interval} intervals: those of one family hold "
            "together. The ``verdict`` on arm a is read off this interval alone: better or worse "
            "(lower or higher for an outcome without a better side) where it excludes 0, "
            "equivalent where it lies inside ± the declared smallest difference of interest "
            "(``sesoi``), else undecided, with the number of seeds ``needs_n`` that would decide "
            "it; fewer than four seeds give no verdict. ``p_adjusted`` belongs to the same "
            "interval. ``mdd_80`` is the true difference that this many seeds would detect in "
            "this family with a power of 80 %, ``sesoi_n`` the number of seeds that would detect "
            "the smallest difference of interest. Spectral outcomes are means over the hidden "
            "layers. At the matched loss a pair is compared on the seeds on which both arms "
            "reached it; ``left_out`` counts the others. ``compound`` pairs differ in more than "
            "one variable. ``edge``: a setting of either arm lies at the edge of what was tried.",
        ),
        "anova": (
            "analysis of variance",
            "All arms of **{title}** at once on *{data}* (protocol: {protocol}): one-way analysis "
            "of variance (Fisher's, with Welch's as the check) and Brown and Forsythe's test of "
            "equal variances. Arms are taken as independent samples, so seeds are not blocks here; "
            "the comparison by seed is in the table *contrasts between arms*. Runs that did not "
            "reach the matched loss are left out of the outcomes at that loss. What cannot be "
            "estimated is empty, with the reason.",
        ),
        "tukey": (
            "Tukey's comparisons",
            "Tukey's comparisons of all pairs of arms (a − b) of **{title}** on *{data}* "
            "(protocol: {protocol}), with {interval} intervals. Arms are taken as independent "
            "samples, so seeds are not blocks here; the comparison by seed, and every verdict, is "
            "in the table *contrasts between arms*. Runs that did not reach the matched loss are "
            "left out of the outcomes at that loss. What cannot be estimated is empty, with the "
            "reason.",
        ),
    },
)
def contrasts(
    outcomes: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    matched: Sequence[dict],
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
    values = outcome_values(outcomes, runs, summaries, matched, measured)
    anova, tukey = compare_all(values, outcomes, comparison, study["order"])
    by_pair = compare(values, outcomes, pairs, study, comparison)
    return {"contrasts": by_pair, "anova": anova, "tukey": tukey}


def compare(
    values: pd.DataFrame, outcomes: Sequence[dict], pairs: Sequence[dict], study: dict, plan: dict
) -> pd.DataFrame:
    """Every pair of arms on every outcome: `statistics.contrasts`, and the facts behind each row.

    `pairs`: a, b, the variables in which they differ (more than one makes the pair compound) and,
    where they are not compared on all outcomes, the names of those. `plan`: alpha,
    smallest_difference and families. At matched loss a pair is compared on the seeds on which both
    arms reached it; `left_out` counts the others. Unpaired studies are compared by Welch's test.
    """
    sesoi, paired = plan["smallest_difference"], study["training"]["paired"]
    names = [outcome["name"] for outcome in outcomes]
    better = {outcome["name"]: outcome.get("better", "") for outcome in outcomes}
    compared = [
        (pair, [name for name in names if name in (pair.get("outcomes") or names)])
        for pair in pairs
    ]
    families = Families(
        list(plan.get("families") or []),
        [(name, pair["a"], pair["b"]) for pair, own in compared for name in own],
    )
    # A single arm has no pairs; the table is then empty but still has its columns.
    tables = (
        [] if pairs else [compare_pairs(values, [], names, plan["alpha"], sesoi).assign(left_out=0)]
    )
    for pair, own in compared:
        kept = both_reached(values, pair["a"], pair["b"], paired)
        couple = [(pair["a"], pair["b"])]
        table = compare_pairs(
            kept, couple, own, plan["alpha"], sesoi, paired=paired, better=better, families=families
        )
        lost = values[~values.reached & values.arm.isin([pair["a"], pair["b"]])]
        table["left_out"] = table.outcome.map(lost.groupby("outcome").seed.nunique()).fillna(0)
        table["left_out"] = table.left_out.astype(int)
        table["compound"] = len(pair["variables"]) > 1
        table["variables"] = ", ".join(pair["variables"])
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values("outcome", key=lambda own: own.map(names.index), kind="stable")
    return _described(table.reset_index(drop=True), outcomes, study)


def compare_all(
    values: pd.DataFrame, outcomes: Sequence[dict], plan: dict, order: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Analysis of variance and Tukey's comparisons over all arms, on runs that have a value.

    `order`: the arms in the order that gives differences their sign, the later minus the earlier.
    """
    kept = reached_alone(values)
    names = [outcome["name"] for outcome in outcomes]
    tukey = arms.tukey(_ordered(kept, order), names, plan["alpha"])
    if tukey.empty:
        tukey = pd.DataFrame(columns=TUKEY, dtype=object)
    return tuple(_with_reason(table, outcomes) for table in (arms.anova(kept, names), tukey))


def _ordered(values: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """The values with arms in the reverse of `order`: Tukey's comparisons take the earlier arm
    minus the later."""
    place = {arm: -number for number, arm in enumerate(order)}
    return values.sort_values("arm", key=lambda arm: arm.map(place).fillna(0), kind="stable")


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
    unreached = (point == "matched") & table.reason.str.contains("diverged")
    table["reason"] = table.reason.mask(unreached, NOT_REACHED)
    table["reason"] = table.reason.mask(
        (table.outcome == "matched_step") & table.reason.str.contains("diverged"),
        INFINITE_STEPS,
    )
    return table
