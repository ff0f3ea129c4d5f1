"""What a study found, in sentences computed from its tables: other numbers give other sentences."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from muonlab.declare import text
from muonlab.report.achieved import achieved, over_points, place
from muonlab.report.anchors import anchor_rows
from muonlab.report.claimed import claim_sentences, power_sentences
from muonlab.report.comparisons import on_all_outcomes
from muonlab.report.dynamics_sentences import dynamics_sentences
from muonlab.report.early_phase import early_sentences
from muonlab.report.lead import lead_lines
from muonlab.report.lengths import speed_up_sentences
from muonlab.report.numbers import interval
from muonlab.report.sentences import factorial_sentences, sweep_sentences
from muonlab.report.versions import version_sentences
from muonlab.report.waterfall import waterfall_sentences
from muonlab.report.words import said
from muonlab.statistics.verdicts import DIFFERENT, NOT_ESTIMABLE

BITS = (8, 4, 2)
# For each topic, outcomes of the whole run, and those at the end and at the levels of equal loss.
TOPICS = {
    "Loss and accuracy": (("final_loss", "test_loss", "test_accuracy"), ()),
    "Flatness": ((), ("sharpness", "hessian_trace")),
    "Spectra of the hidden weights": ((), ("spectral_entropy", "effective_rank")),
    "Quantization, one scale for each tensor": (
        (),
        tuple(f"accuracy_drop_int{bits}_tensor_quantile" for bits in BITS),
    ),
}
MANY = 3  # up to this many pairs fit side by side as columns
PERPLEXITIES = {
    "final_loss": "ratio of final perplexities",
    "test_loss": "ratio of test perplexities",
}
# Columns of the table of a language study's arms: the outcome in the summary, and the function that
# is applied to its mean.
ARM_COLUMNS = {
    "final loss": ("final_loss", float),
    "perplexity": ("final_loss", np.exp),
    "accuracy": ("final_accuracy", float),
    "test loss": ("test_loss", float),
    "test perplexity": ("test_loss", np.exp),
    "test accuracy": ("test_accuracy", float),
}
LEGEND = (
    "Each cell is the first arm minus the second, over seeds, with its simultaneous {interval} "
    "interval: the intervals of one family of comparisons hold together. The verdict on the first "
    "arm is read off that interval alone. Equivalent: the interval lies inside ± the declared "
    "smallest difference of interest. Otherwise, bold: it excludes 0. Undecided: neither, with the "
    "number of seeds that would decide it. Fewer than four seeds give no verdict. —: the "
    "difference cannot be estimated. Each claim, each factorial and the ranking is a family; what "
    "none of them contains is exploratory, and all of it on one outcome is one family. At loss 1 "
    "to {levels}, from high to low, two arms are compared at a loss that every run of both passed, "
    "which the cell names: the loss of the data that was measured, one training batch for "
    "curvature, the test split for quantization, the evaluated split for all else. Δ is the "
    "difference between the losses that their nearest snapshots really had, which interpolation "
    "bridges."
)


@text(
    title="findings",
    section="findings",
    caption="What **{title}** found on *{data}*, each sentence computed from the study's tables. "
    "What is undecided, or cannot be estimated, is said too.",
)
def findings(
    contrasts: pd.DataFrame,
    summary: pd.DataFrame,
    runs_table: pd.DataFrame,
    study: dict,
    comparison: Mapping | None = None,
    arm_settings: Mapping[str, Mapping] | None = None,
    factorials_table: pd.DataFrame | None = None,
    one_at_a_time: pd.DataFrame | None = None,
    anchor_checks: pd.DataFrame | None = None,
    speed_up_table: pd.DataFrame | None = None,
    waterfall_table: pd.DataFrame | None = None,
    early_phase: pd.DataFrame | None = None,
    dynamics_claims: pd.DataFrame | None = None,
    descent: pd.DataFrame | None = None,
) -> str:
    """Markdown: the study's data and settings, then a table of comparisons for each topic, then
    sentences on what its experiments found.

    That a comparison is undecided, or that nothing can be estimated, is a finding too. It is
    reported like any other, with its reason below the table.
    """
    labels = dict(zip(summary.arm, summary.label, strict=True))
    told = _Told(study, labels)
    families = (comparison or {}).get("families", ())
    lines = [*lead_lines(contrasts, labels, families, anchor_checks), ""]
    lines += [*_basis(summary), *version_sentences(runs_table, arm_settings), ""]
    if told.of_text:
        lines += ["**Arms**", "", *_arms(summary, study), ""]
    lines += [LEGEND.format(interval=study["interval"], levels=study["levels"])]
    claimed = list(claim_sentences(contrasts, labels, families))
    if claimed:
        lines += ["", "**Claims**", "", *claimed]
    weak = list(power_sentences(contrasts))
    if weak:
        lines += ["", "**What these seeds can see**", "", *weak]
    compared = on_all_outcomes(contrasts)
    for topic, (whole, along) in TOPICS.items():
        outcomes = (*whole, *over_points(along, study["levels"]))
        outcomes += over_points(("step_at",), study["levels"]) if whole else ()
        rows = compared[compared.outcome.isin(outcomes)]
        if len(rows):
            many = told.of_text or len(rows.drop_duplicates(["arm_a", "arm_b"])) > MANY
            shown = _long_table if many else _table
            if (rows.verdict == NOT_ESTIMABLE).all():
                shown = _nothing
            lines += ["", f"**{topic}**", "", *shown(rows, outcomes, told)]
    early = [] if early_phase is None else list(early_sentences(early_phase, study))
    if early:
        lines += ["", "**Early phase**", "", *early]
    if dynamics_claims is not None:
        lines += ["", "**Training dynamics**", ""]
        known = [table for table in (dynamics_claims, descent) if table is not None]
        claims = pd.concat(known, ignore_index=True)
        lines += dynamics_sentences(claims, runs_table, labels, study)
    if speed_up_table is not None:
        lines += ["", "**Speed-up**", "", *speed_up_sentences(speed_up_table, study)]
    if waterfall_table is not None:
        lines += ["", "**Where the published gap goes**", ""]
        lines += waterfall_sentences(waterfall_table, study)
    if factorials_table is not None:
        lines += ["", "**What each component is worth**", ""]
        lines += factorial_sentences(factorials_table, study)
    if one_at_a_time is not None:
        lines += ["", "**One setting at a time**", "", *sweep_sentences(one_at_a_time, study)]
    if anchor_checks is not None:
        lines += ["", "**Anchor checks**", "", *anchor_rows(anchor_checks)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Told:
    """What the notes below the tables are written from: the study and its arms' labels."""

    study: dict
    labels: Mapping[str, str]

    @property
    def of_text(self) -> bool:
        return self.study["kind"] == "text"

    def pair(self, row) -> str:
        return f"{self.labels[row.arm_a]} against {self.labels[row.arm_b]}"


def _basis(summary: pd.DataFrame) -> Iterator[str]:
    arms = summary.drop_duplicates("arm")
    first = arms.iloc[0]
    arms = arms[arms.tuned]
    rates = "; ".join(f"{arm.label} {arm.settings}" for arm in arms.itertuples())
    yield (
        f"Data: {first.data}. Protocol: {first.protocol}. Seeds of each arm: {first.n}. "
        f"Chosen by tuning: {rates}."
    )
    elsewhere = summary.drop_duplicates("arm")
    elsewhere = elsewhere[elsewhere.data != first.data]
    if len(elsewhere):
        named = ", ".join(f"{arm.label} ({arm.data})" for arm in elsewhere.itertuples())
        yield f"Read other data, so their losses are compared among themselves alone: {named}."
    for arm in arms[arms.edge.notna() & (arms.edge != "")].itertuples():
        yield (
            f"**Warning:** the setting that tuning chose for {arm.label} lies at the edge of what "
            f"was tried ({arm.edge}); a better setting may lie outside."
        )


def _arms(summary: pd.DataFrame, study: dict) -> Iterator[str]:
    """One row for each arm of a language study."""
    split = study["training"]["evaluate_on"]
    yield (
        f"Means over seeds with {study['interval']} intervals, on the {split} split and, where the "
        "column says so, on the test split; perplexity is the exponential of the mean loss."
    )
    yield ""
    lowest = f"step_at_loss_{study['levels']}"
    level = summary.level[summary.outcome == lowest].iloc[0]
    title = f"steps to loss {level:.4g}" if np.isfinite(level) else "steps to a common loss"
    columns = ARM_COLUMNS | {title: (lowest, float)}
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for arm, own in summary.groupby("label", sort=False):
        by_outcome = own.set_index("outcome")
        cells = [_mean(by_outcome.loc[outcome], back) for outcome, back in columns.values()]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def _mean(row: pd.Series, back: Callable) -> str:
    if not np.isfinite(row["mean"]):
        return "—"
    value, low, high = (float(back(row[name])) for name in ("mean", "low", "high"))
    return interval(value, low, high, digits=4)


def _nothing(rows: pd.DataFrame, outcomes: tuple[str, ...], told: _Told) -> Iterator[str]:
    """The reasons, in place of a table in which no comparison can be estimated."""
    reasons = " ".join(dict.fromkeys(rows.reason))
    yield f"No comparison can be estimated ({len(rows)} of them). {reasons}"


def _long_table(rows: pd.DataFrame, outcomes: tuple[str, ...], told: _Told) -> Iterator[str]:
    """`_table` transposed, for many pairs: a row for each pair and a column for each outcome.

    Language studies also get the ratio of perplexities: the exponential of the difference of
    losses.
    """
    columns: list[tuple[str, str, bool]] = []  # outcome, title, whether it is a perplexity
    for outcome in outcomes:
        own = rows[rows.outcome == outcome]
        if len(own):
            title = own.iloc[0].label + place(own.iloc[0].point)
            columns.append((outcome, title, False))
            if told.of_text and outcome in PERPLEXITIES:
                columns.append((outcome, PERPLEXITIES[outcome], True))
    yield "| | " + " | ".join(title for _, title, _ in columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    notes: dict[str, None] = {}
    for (a, b), pair in rows.groupby(["arm_a", "arm_b"], sort=False):
        found = {row.outcome: row for row in pair.itertuples()}
        cells = [_cell(found[outcome], ratio) for outcome, _, ratio in columns]
        yield f"| {told.labels[a]} − {told.labels[b]} | " + " | ".join(cells) + " |"
        for row in found.values():
            notes |= dict.fromkeys(_notes(row, told))
    if notes:
        yield ""
        yield " ".join(notes)


def _table(rows: pd.DataFrame, outcomes: tuple[str, ...], told: _Told) -> Iterator[str]:
    pairs = list(rows[["arm_a", "arm_b"]].drop_duplicates().itertuples(index=False, name=None))
    titles = [f"{told.labels[a]} − {told.labels[b]}" for a, b in pairs]
    yield "| | " + " | ".join(titles) + " |"
    yield "|---" * (1 + len(pairs)) + "|"
    notes: dict[str, None] = {}
    for outcome in outcomes:
        own = rows[rows.outcome == outcome]
        if len(own):
            cells = [_cell(row) for row in own.itertuples()]
            name = own.iloc[0].label + place(own.iloc[0].point)
            yield f"| {name} | " + " | ".join(cells) + " |"
        for row in own.itertuples():
            notes |= dict.fromkeys(_notes(row, told))
    if notes:
        yield ""
        yield " ".join(notes)


def _cell(row, ratio: bool = False) -> str:
    """One comparison as the text of a cell; `ratio` exponentiates the difference and its limits."""
    if row.verdict == NOT_ESTIMABLE:
        return "—"
    numbers = interval(row.difference, row.low, row.high, sign=True)
    if ratio:
        numbers = f"×{interval(*np.exp([row.difference, row.low, row.high]))}"
    numbers = f"**{numbers}**" if row.verdict in DIFFERENT else numbers
    return f"{numbers}{achieved(row)}, {said(row)}"


def _notes(row, told: _Told) -> Iterator[str]:
    if row.verdict == NOT_ESTIMABLE:
        yield f"— {row.reason}"
    if row.compound:
        yield (
            f"{told.pair(row)}: the arms differ in more than one setting ({row.variables}), so "
            "the difference cannot be attributed to any single one."
        )
