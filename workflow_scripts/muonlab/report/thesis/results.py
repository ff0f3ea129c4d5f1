"""The chapters of results: each study's comparisons and figures, the analysis of components, and
the claims."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from muonlab.report.claim_words import by_claim, deciding, measured, printed, ran, summary_sentence
from muonlab.report.documents.blocks import (
    Block,
    Grid,
    Heading,
    Items,
    Picture,
    escaped,
    grid,
    inline,
    plain,
)
from muonlab.report.numbers import NONE, interval
from muonlab.report.thesis.evidence import ADAMW, MUON, Study, fair, sentence
from muonlab.report.thesis.frame import chapter, embedded_warning, paragraph
from muonlab.report.versions import version_sentences
from muonlab.report.waterfall import waterfall_sentences
from muonlab.report.words import said
from muonlab.statistics.verdicts import MIN_SEEDS

# Figures of the chapter of a study, as far as it has them, and those of the analysis of components.
FIGURES = ("learning_curves", "effects", "performance", "speed_up", "waterfall", "quantization")
FIGURES += ("lr_sensitivity", "one_at_a_time", "overhead", "best_of_k")
ANALYSIS = ("contributions", "spectra_over_loss", "curvature_over_loss", "components")
ANALYSIS += ("dose_response", "ranking_heatmap", "geometry_over_loss")
ARMS = 12  # rows of the table of arms; a ranking shows the rest
LOSSES = ("final_loss", "test_loss", "test_accuracy")


def results(
    studies: Mapping[str, Study],
    drawings: Mapping[str, Mapping[str, Path]],
    captions: Mapping[str, dict],
) -> Iterator[Block]:
    yield chapter("Results")
    for study in studies.values():
        yield Heading(2, plain(study.title))
        yield from _warnings(study)
        yield from _headline(study)
        yield arms_table(study)
        yield from (table for _, table in families_tables(study))
        table = study.tables.get("waterfall")
        if table is not None:
            yield Heading(3, plain("Where the published gap goes"))
            lines = [line for line in waterfall_sentences(table, dict(study.facts)) if line]
            yield paragraph(escaped(lines[0]))
            yield Items(tuple(inline(escaped(line.removeprefix("- "))) for line in lines[1:]))
        yield from _pictures(study, FIGURES, drawings, captions)


def component_analysis(
    studies: Mapping[str, Study],
    drawings: Mapping[str, Mapping[str, Path]],
    captions: Mapping[str, dict],
    evidence: Sequence[str],
) -> Iterator[Block]:
    yield chapter("Component analysis")
    yield paragraph(
        "What the parts of Muon are worth, and what it does to the weights: the comparisons at "
        "equal loss separate an optimizer's geometry from its lower loss."
    )
    if evidence:
        yield Items(tuple(inline(escaped(line)) for line in evidence))
    for study in fair(studies):
        own = list(_pictures(study, ANALYSIS, drawings, captions))
        if own:
            yield Heading(2, plain(study.title))
            yield from own


def claims_chapter(
    claims: pd.DataFrame, drawn: Path, studies: Mapping[str, Study]
) -> Iterator[Block]:
    yield chapter("What survives of the published claims", "claims")
    yield paragraph(summary_sentence(claims))
    yield from embedded_warning(fair(studies))
    yield Picture(drawn, inline("Every claim, scaled so that the claimed side is at the right."))
    yield claims_table(claims)


def claims_table(claims: pd.DataFrame) -> Grid:
    """A row for each claim: the source's number, ours under the fair protocol, and the verdict."""
    rows = []
    for number, own in by_claim(claims):
        first = own.iloc[0]
        cells = [
            str(number),
            escaped(first.short),
            _source(own),
            _ours(own),
            f"**{first.verdict}**",
        ]
        rows.append(cells)
    header = ("", "Claim", "Source", "Ours, fair", "Verdict")
    return grid(header, rows, "The claims, their sources' numbers, ours and the verdicts.")


def full_claims(claims: pd.DataFrame) -> Iterator[Block]:
    """The table of all comparisons, for the appendix."""
    for _, own in by_claim(claims):
        first = own.iloc[0]
        yield Heading(2, plain(first.claim.removesuffix(".")))  # the section has the claim's number
        yield paragraph(f"**{str(first.verdict).capitalize()}.** {escaped(first.rule)}")
        known = own[(own.fair_answer != "not run") | (own.published_answer != "not run")]
        if known.empty:
            reasons = "; ".join(dict.fromkeys(own.missing.dropna()))
            yield paragraph(f"It was not run: {escaped(reasons)}.")
            continue
        rows = [
            (
                escaped(row.study),
                escaped(row.comparison),
                measured(row, "published") or NONE,
                measured(row, "fair") or NONE,
                row.fair_answer,
            )
            for row in known.itertuples()
        ]
        yield grid(("Study", "Comparison", "Source's protocol", "Fair", "Answer"), rows)
        warned = " ".join(dict.fromkeys(w for w in known.warnings.dropna() if w))
        if warned:
            yield paragraph(f"**Warning:** {escaped(warned)}")
        yield paragraph(f"Records: {escaped(', '.join(dict.fromkeys(known.records)))}.")


def _warnings(study: Study) -> Iterator[Block]:
    facts = study.facts
    if study.n < MIN_SEEDS:
        yield paragraph(
            f"**Warning:** this study has {study.n} {'seed' if study.n == 1 else 'seeds'}; fewer "
            f"than {MIN_SEEDS} give no verdict."
        )
    for arm in facts["arms"]:
        if arm["edges"] and arm["tuned"]:
            edges = ", ".join(f"{field} {side}" for field, side in arm["edges"].items())
            yield paragraph(
                f"**Warning:** what tuning chose for {escaped(arm['label'])} lies on an edge of "
                f"its search space ({edges})."
            )
    checks = study.tables.get("anchor_checks")
    if checks is not None:
        for row in checks[checks.result == "fail"].itertuples():
            yield paragraph(
                f"**Warning:** the anchor check “{row.check}” fails: {escaped(row.reason)}."
            )
    for line in version_sentences(study.tables["runs"], study.settings):
        yield paragraph(line)


def _headline(study: Study) -> Iterator[Block]:
    if not study.has(MUON, ADAMW):
        return
    told = []
    for outcome, thing, unit in (
        ("final_loss", "final loss", "nats"),
        ("test_loss", "test loss", "nats"),
        ("test_accuracy", "test accuracy", ""),
    ):
        row = study.contrast(outcome)
        if row is not None:
            told.append(sentence(study, row, thing, unit).split(": ", 1)[1])
    yield paragraph(escaped(" ".join(f"{line[:1].upper()}{line[1:]}" for line in told)))


def arms_table(study: Study) -> Grid:
    """Means and intervals of the losses of the arms, the lowest final loss first."""
    summary = study.tables["summary"]
    wide = {outcome: summary[summary.outcome == outcome].set_index("arm") for outcome in LOSSES}
    order = wide["final_loss"]["mean"].fillna(np.inf).sort_values(kind="stable").index[:ARMS]
    rows = []
    for arm in order:
        cells = [escaped(wide["final_loss"].label[arm])]
        for outcome in LOSSES:
            row = wide[outcome].loc[arm]
            cells.append(interval(row["mean"], row.low, row.high, digits=4))
        rows.append(cells)
    more = "" if len(summary.arm.unique()) <= ARMS else f", the {ARMS} lowest of all"
    return grid(
        ("Arm", "Final loss", "Test loss", "Test accuracy"),
        rows,
        f"Means over {study.n} seeds with {study.facts['interval']} intervals, lowest final loss "
        f"first{more}.",
    )


def families_tables(study: Study) -> Iterator[tuple[str, Grid]]:
    """(name, table) of the declared families, a row for each comparison; of large ones those that
    are decided."""
    table = study.tables["contrasts"]
    for family in study.facts["families"]:
        if not family["declared"]:
            continue
        own = table[table.family == family["name"]]
        shown = own if len(own) <= 12 else own[own.verdict != "undecided"]
        if own.empty:
            continue
        rows = [_comparison(study, row) for row in shown.itertuples()]
        left = len(own) - len(shown)
        more = f" The other {left} comparisons are undecided." if left else ""
        claim = escaped((family["claim"] or family["name"].replace("_", " ")).rstrip("."))
        count = f"{family['size']} comparison{'s' if family['size'] > 1 else ''}"
        caption = f"{claim} ({count}, one family).{more}"
        header = ("Outcome", "Comparison", "Difference", "Verdict")
        yield family["name"], grid(header, rows, caption)


def _comparison(study: Study, row) -> Sequence[str]:
    point = f", at {row.point}" if isinstance(row.point, str) and row.point else ""
    pair = f"{study.label(row.arm_a)} − {study.label(row.arm_b)}"
    numbers = interval(row.difference, row.low, row.high, sign=True)
    mark = " (compound)" if row.compound else ""
    return escaped(row.label + point), escaped(pair) + mark, numbers, said(row)


def _pictures(
    study: Study,
    names: Sequence[str],
    drawings: Mapping[str, Mapping[str, Path]],
    captions: Mapping[str, dict],
) -> Iterator[Block]:
    own = drawings.get(study.name, {})
    for name in names:
        if name in own:
            told = captions[study.name]["figures"][name]
            caption = told["caption"].split("\n\n")[0]
            yield Picture(own[name], inline(f"{told['title'].capitalize()}. {caption}"))


def _source(rows: pd.DataFrame) -> str:
    same = rows[rows.source_is_same.astype(bool)]
    return printed((same if len(same) else rows).iloc[0]) or NONE


def _ours(rows: pd.DataFrame) -> str:
    own = ran(deciding(rows))
    if own.empty:
        return "not run"
    cells = []
    for study, each in own.groupby("study", sort=False):
        more = f" and {len(each) - 1} more" if len(each) > 1 else ""
        cells.append(f"{escaped(study)}: {measured(next(each.itertuples()), 'fair')}{more}")
    return "; ".join(cells)
