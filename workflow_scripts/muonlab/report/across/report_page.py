"""The report: one page with the claims first, then each study's findings, figures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from muonlab.declare import text
from muonlab.report.across.claims_text import claims_grid, evidence, read_sizes
from muonlab.report.claim_words import by_claim, colour_of, summary_sentence
from muonlab.report.documents.blocks import (
    Block,
    Grid,
    Heading,
    Paragraph,
    Picture,
    escaped,
    grid,
    inline,
    parsed,
)
from muonlab.report.documents.html import html
from muonlab.report.documents.page import PAGE
from muonlab.report.documents.tables import MOST_ROWS, shown
from muonlab.report.thesis.evidence import read_studies
from muonlab.report.thesis.questions import Question, questions

BULK = 400  # rows of a table that is left to its file
# The order of the sections of a study in the report; others follow.
SECTIONS = ("findings", "ranking", "statistics", "training", "quantization", "curvature", "spectra")


@text(
    title="report",
    section="report",
    caption="Claims, findings, figures and tables of *{name}*.",
    suffix="html",
)
def report(
    claims: pd.DataFrame,
    claims_overview_figure: Mapping[str, Path],
    name: str,
    facts: Mapping[str, dict],
    captions: Mapping[str, dict],
    pictures: Mapping[str, Mapping[str, Path]],
    texts: Mapping[str, Mapping[str, Path]],
    shown_tables: Mapping[str, Mapping[str, Path]],
    study_tables: Mapping[str, Mapping[str, Path]],
    other_sizes: Sequence[dict],
) -> str:
    """One HTML page without scripts, that needs no other file."""
    sizes = {name: claims} | read_sizes(other_sizes)
    asked = questions(read_studies(facts, dict.fromkeys(facts, {}), study_tables))
    parts = [_opening(claims, asked, facts), _claims(claims, claims_overview_figure["png"], sizes)]
    for study, own in facts.items():
        parts.append(
            _study(
                study,
                own,
                captions[study],
                pictures.get(study, {}),
                texts.get(study, {}),
                shown_tables.get(study, {}),
            )  # fmt: skip
        )
    links = "".join(
        f'<a href="#{escape(study)}">{escape(own["title"])}{_suffix(own)}</a>'
        for study, own in facts.items()
    )
    title = f"Muon against AdamW: {escape(name)}"
    return PAGE.format(title=title, description=escape(_description(facts)), links=links,
                       content="\n".join(parts))  # fmt: skip


def _opening(claims: pd.DataFrame, asked: Sequence[Question], facts: Mapping[str, dict]) -> str:
    blocks: list[Block] = [
        Heading(1, inline("Muon against AdamW, under one fair protocol")),
        Paragraph(inline(_description(facts))),
        Paragraph(inline(f"**{summary_sentence(claims)}**")),
    ]
    toy = sorted({own["data"] for own in facts.values() if own.get("embedded")})
    if toy:
        blocks.append(
            Paragraph(
                inline(
                    f"**Warning:** {', '.join(toy)} stand in for the sources' data, and the models "
                    "are small: what holds at published size is for larger runs to say."
                ),
                warning=True,
            )
        )
    rows = [(escaped(question.asked), escaped(question.answer)) for question in asked]
    blocks.append(grid(("The six questions", "What the records say"), rows))
    return f'<section id="top">{html(blocks)}</section>'


def _description(facts: Mapping[str, dict]) -> str:
    studies = [
        f"{own['title']}{_suffix(own)} on {own['data']} ({len(own['arms'])} arms, "
        f"{len(own['seeds'])} seed{'s' if len(own['seeds']) > 1 else ''})"
        for own in facts.values()
    ]
    return f"Studies: {'; '.join(studies)}. Every number is computed from the records of runs."


def _suffix(own: Mapping) -> str:
    return "" if own["protocol"] == "fair" else f", {own['protocol']} protocol"


def _claims(claims: pd.DataFrame, drawn: Path, sizes: dict[str, pd.DataFrame]) -> str:
    name = next(iter(sizes))
    (overview,) = parsed("\n".join(claims_grid(sizes, name)))
    blocks = [
        Heading(2, inline("Which published claims survive")),
        Paragraph(
            inline(
                "A claim holds where every comparison that decides it lies on the claimed side, in "
                "every study that was run. The rules were fixed beforehand."
            )
        ),
    ]
    table = _coloured(html([overview]), claims)
    told = inline("Right of the line is what the claim says; each row has its own scale.")
    figure = html([Picture(drawn, told)])
    details = []
    for _, rows in by_claim(claims):
        heading, *rest = list(parsed("\n".join(evidence(rows))))
        summary = "".join(span.text for span in heading.text)
        details.append(_folded(summary, html(rest)))
    evidence_part = f"<h3>The evidence of each claim</h3>{''.join(details)}"
    return f'<section id="claims">{html(blocks)}{table}{figure}{evidence_part}</section>'


def _coloured(table: str, claims: pd.DataFrame) -> str:
    """The table with the verdicts of this size in their colours."""
    for said in dict.fromkeys(claims.verdict):
        old = f"<strong>{escape(said)}</strong>"
        table = table.replace(old, f'<strong class="{colour_of(said)}">{escape(said)}</strong>')
    return table


def _study(
    study: str,
    facts: Mapping,
    captions: Mapping[str, dict],
    pictures: Mapping[str, Path],
    texts: Mapping[str, Path],
    tables: Mapping[str, Path],
) -> str:
    title = f"{facts['title']}{_suffix(facts)}"
    parts = [html([Heading(2, inline(title))])]
    for name, file in sorted(texts.items(), key=lambda item: item[0] != "findings"):
        head, rest = _split(list(parsed(file.read_text(encoding="utf-8"))))
        parts.append(html(head, 1) + _folded(f"All {name}", html(rest, 1)))
    parts.append(html(_pictures(captions["figures"], pictures)))
    folded = [_table(captions["tables"][name], file) for name, file in tables.items()]
    parts.append(f"<h3>Tables</h3>{''.join(folded)}")
    return f'<section id="{escape(study)}">{"".join(parts)}</section>'


def _split(blocks: list[Block]) -> tuple[list[Block], list[Block]]:
    """The answer with which a text starts, and the rest: from its first heading below the title."""
    for place, block in enumerate(blocks):
        if isinstance(block, Heading) and place:
            return blocks[:place], blocks[place:]
    return blocks, []


def _pictures(captions: Mapping[str, dict], pictures: Mapping[str, Path]) -> Iterator[Picture]:
    sections = list(dict.fromkeys([*SECTIONS, *(captions[name]["section"] for name in pictures)]))
    for section in sections:
        own = [name for name in pictures if captions[name]["section"] == section]
        for name in own:
            told = captions[name]
            # Warnings stand once, at the head of the study, and not below each of its figures.
            first = told["caption"].split("\n\n")[0]
            caption = inline(f"**{told['title'].capitalize()}.** {first}")
            yield Picture(pictures[name], caption)


def _table(told: Mapping[str, str], file: Path) -> str:
    table = pd.read_csv(file)
    caption = html([Paragraph(inline(told["caption"]))])
    if len(table) > BULK or table.empty:
        size = f"{len(table)} rows" if len(table) else "no rows"
        return _folded(f"{told['title']} ({size})", caption + _where(file, "It"))
    own: Grid = shown(table)
    more = _where(file, f"All {len(table)} rows") if len(table) > MOST_ROWS else _where(file, "It")
    return _folded(f"{told['title']} ({len(table)} rows)", caption + html([own]) + more)


def _where(file: Path, subject: str) -> str:
    place = "/".join(file.parts[-3:])
    verb = "are" if subject.startswith("All") else "is"
    return f'<p class="where">{subject} {verb} in <code>{escape(place)}</code>.</p>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
