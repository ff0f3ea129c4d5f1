"""The page of claims: one table for the reader, and the evidence of each claim below it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from muonlab.declare import text
from muonlab.report.claim_words import (
    by_claim,
    deciding,
    measured,
    printed,
    ran,
    summary_sentence,
)
from muonlab.report.numbers import NONE
from muonlab.statistics.decisions import NOT_RUN


@text(
    title="claims",
    section="claims",
    caption="Which published claims survive in the runs of *{name}*, and why.",
)
def claims_page(claims: pd.DataFrame, name: str, other_sizes: Sequence[dict]) -> str:
    """Markdown: what survives in three lines, a table with a column for each size that was run, and
    the comparisons of each claim. `claims` is claims.csv."""
    sizes = {name: claims} | read_sizes(other_sizes)
    lines = ["# Which published claims survive", "", summary_sentence(claims), ""]
    lines += [
        "A claim holds where every comparison that decides it lies on the claimed side, in every "
        "study that was run; the rules were fixed beforehand. Intervals are the simultaneous ones "
        "of the family that the study declares. “Undecided” gives the number of seeds that would "
        "decide.",
        "",
        *claims_grid(sizes, name),
        "",
        "## The evidence",
        "",
    ]
    for _, rows in by_claim(claims):
        lines += [*evidence(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def read_sizes(other_sizes: Sequence[dict]) -> dict[str, pd.DataFrame]:
    """The claims of other configurations, where their table has what is read here. A file that an
    older version wrote, or that is gone by now, is left out."""
    found = {}
    for size in other_sizes:
        try:
            table = pd.read_csv(Path(size["file"]))
        except (OSError, ValueError):
            continue
        if {"number", "verdict", "study", "verdict_in_study"} <= set(table):
            found[size["name"]] = table
    return found


def claims_grid(sizes: dict[str, pd.DataFrame], name: str) -> Iterator[str]:
    """The table of claims: source, our number under both protocols, and a verdict for each size."""
    others = [size for size in sizes if size != name]
    titles = ["", "Claim", "Source's number", "Ours, source's protocol", "Ours, fair"]
    titles += [f"Verdict ({size})" for size in (name, *others)]
    yield "| " + " | ".join(titles) + " |"
    yield "|---" * len(titles) + "|"
    for number, rows in by_claim(sizes[name]):
        first = rows.iloc[0]
        cells = [str(number), first.short, _source(rows)]
        cells += [_ours(rows, "published"), _ours(rows, "fair"), f"**{first.verdict}**"]
        for other in others:
            own = sizes[other]
            found = own.verdict[own.number == number]
            cells.append(f"**{found.iloc[0]}**" if len(found) else NONE)
        yield "| " + " | ".join(cells) + " |"


def evidence(rows: pd.DataFrame) -> Iterator[str]:
    """One claim: its sentence, rule, comparisons, warnings and records."""
    first = rows.iloc[0]
    yield f"### {first.number}. {first.claim}"
    yield ""
    yield f"**{str(first.verdict).capitalize()}.** Rule: {first.rule}"
    known = rows[(rows.fair_answer != NOT_RUN) | (rows.published_answer != NOT_RUN)]
    if known.empty:
        yield ""
        yield f"It was not run: {_reasons(rows)}."
        return
    yield ""
    for row in known.itertuples():
        yield _comparison(row)
    warned = list(dict.fromkeys(w for w in known.warnings.dropna() if w))
    if warned:
        yield ""
        yield f"**Warning:** {' '.join(warned)}"
    yield ""
    yield f"Records: {', '.join(dict.fromkeys(known.records))}."


def _comparison(row) -> str:
    parts = []
    if row.fair_answer != NOT_RUN:
        parts.append(f"fair {measured(row, 'fair')}, {_answer(row, 'fair')}")
    if row.published_answer != NOT_RUN:
        told = measured(row, "published")
        parts.append(f"under the source's protocol {told}, {_answer(row, 'published')}")
    beside = "" if isinstance(row.decides, str) and row.decides else " (does not decide)"
    unit = f" ({row.unit})" if row.unit else ""
    said = printed(row)
    source = f"; the source prints {said}" if said and row.source_is_same else ""
    return f"- {row.study}, {row.comparison}{unit}{beside}: {'; '.join(parts)}{source}."


def _answer(row, protocol: str) -> str:
    found = getattr(row, f"{protocol}_answer")
    decides = isinstance(row.decides, str) and protocol in row.decides
    return f"**{found}**" if decides else found


def _source(rows: pd.DataFrame) -> str:
    same = rows[rows.source_is_same.astype(bool)]
    said = printed((same if len(same) else rows).iloc[0])
    return said or "none printed"


def _ours(rows: pd.DataFrame, protocol: str) -> str:
    """The deciding comparisons of a protocol: the first of each study, and how many more."""
    own = ran(deciding(rows, protocol), protocol)
    if own.empty:
        return "not run"
    cells = []
    for study, each in own.groupby("study", sort=False):
        told = measured(next(each.itertuples()), protocol)
        more = f" and {len(each) - 1} more" if len(each) > 1 else ""
        cells.append(f"{study}: {told}{more}")
    return "; ".join(cells)


def _reasons(rows: pd.DataFrame) -> str:
    return "; ".join(dict.fromkeys(rows.missing.dropna())) or "there are no records"
