"""Every pair of arms on every outcome, and all arms at once."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.achieved import at_levels, explained
from muonlab.report.outcomes import Outcomes
from muonlab.statistics import all_arms as arms
from muonlab.statistics.contrasts import contrasts as compare_pairs
from muonlab.statistics.families import Families

TUKEY = ["outcome", "arm_a", "arm_b", "difference", "low", "high", "p", "diverged", "reason"]


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
            "layers. At the points *loss 1* to *loss {levels}* a pair is compared at the loss "
            "``level``, which every run of both arms passed, on the data that was measured; values "
            "are interpolated between the two snapshots beside it. ``loss_difference`` is the "
            "difference of the losses that were really achieved: of the measured snapshots nearest "
            "to that level, and at the end of the losses there. Diverged runs do not count for the "
            "levels, and make the comparison *not estimable*. ``compound`` pairs differ in more "
            "than one variable. ``edge``: a setting of either arm lies at the edge of what was "
            "tried.",
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
            "Tukey's comparisons of all pairs of arms (a − b) of **{title}** on *{data}* "
            "(protocol: {protocol}), with {interval} intervals. Arms are taken as independent "
            "samples, so seeds are not blocks here; the comparison by seed, and every verdict, is "
            "in the table *contrasts between arms*. ``level`` is a loss that every run of all arms "
            "passed. What cannot be estimated is empty, with the reason.",
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
    alike = [arm["name"] for arm in study["arms"] if not arm.get("apart")]
    anova, tukey = compare_all(values, outcomes, comparison, study["order"], alike)
    by_pair = compare(values, outcomes, pairs, study, comparison)
    return {"contrasts": by_pair, "anova": anova, "tukey": tukey}


def compare(
    values: Outcomes, outcomes: Sequence[dict], pairs: Sequence[dict], study: dict, plan: dict
) -> pd.DataFrame:
    """Every pair of arms on every outcome: `statistics.contrasts`, and the facts behind each row.

    `pairs`: a, b, the variables in which they differ (more than one makes the pair compound) and,
    where they are not compared on all outcomes, the names of those. `plan`: alpha,
    smallest_difference and families. At equal loss a pair is compared at losses that every run of
    the two arms passed. Unpaired studies are compared by Welch's test.
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
    tables = []
    if not pairs:
        own = values.of()
        tables = [at_levels(compare_pairs(own, [], names, plan["alpha"], sesoi), own, None)]
    for pair, asked in compared:
        couple = (pair["a"], pair["b"])
        own = values.of(couple)
        table = compare_pairs(
            own, [couple], asked, plan["alpha"], sesoi,
            paired=paired, better=better, families=families,
        )  # fmt: skip
        table = at_levels(table, own, couple)
        table["compound"] = len(pair["variables"]) > 1
        table["variables"] = ", ".join(pair["variables"])
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values("outcome", key=lambda own: own.map(names.index), kind="stable")
    return _described(table.reset_index(drop=True), outcomes, study)


def compare_all(
    values: Outcomes,
    outcomes: Sequence[dict],
    plan: dict,
    order: Sequence[str] = (),
    arms_alike: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Analysis of variance and Tukey's comparisons over all arms, at losses that all runs passed.

    `order`: the arms in the order that gives differences their sign, the later minus the earlier.
    `arms_alike`: the arms whose losses are measured on the same data; None takes all.
    """
    kept = values.of(arms_alike)
    names = [outcome["name"] for outcome in outcomes]
    tukey = arms.tukey(_ordered(kept, order), names, plan["alpha"])
    if tukey.empty:
        tukey = pd.DataFrame(columns=TUKEY, dtype=object)
    level = kept.groupby("outcome")["level"].first()
    return tuple(
        _with_reason(explained(table, kept), outcomes).assign(level=table.outcome.map(level))
        for table in (arms.anova(kept, names), tukey)
    )


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
    return table
