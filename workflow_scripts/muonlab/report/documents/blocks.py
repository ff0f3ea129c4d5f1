"""A document as plain data: headings, paragraphs, lists, tables and pictures, with emphasis inside.

The studies' texts are Markdown; `parsed` reads the part of it that they use. The blocks are written
as HTML (`documents.html`) or Typst (`documents.typst`), which escape every text. So nothing that
comes from a config can be taken for markup.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PLAIN, STRONG, EMPH, CODE, CITE = "", "strong", "emph", "code", "cite"
# **strong**, *emph*, `code`, [@citation], [text](target); a backslash keeps the next character as
# it is.
_INLINE = re.compile(
    r"\\(?P<escaped>[\\*`|\[\]])|\[@(?P<cite>[a-z0-9]+)\]|\*\*(?P<strong>.+?)\*\*"
    r"|``(?P<code2>.+?)``|`(?P<code>[^`]+)`"
    r"|(?<![\w*])\*(?P<emph>[^*\s](?:[^*]*[^*\s])?)\*(?![\w*])|!?\[(?P<text>[^\]]*)\]\([^)]*\)"
)


@dataclass(frozen=True)
class Span:
    """Text in one style."""

    text: str
    style: str = PLAIN


Inline = tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    level: int
    text: Inline
    label: str = ""


@dataclass(frozen=True)
class Paragraph:
    text: Inline
    warning: bool = False


@dataclass(frozen=True)
class Items:
    items: tuple[Inline, ...]


@dataclass(frozen=True)
class Grid:
    """A table: the titles of its columns, and its rows."""

    header: tuple[Inline, ...]
    rows: tuple[tuple[Inline, ...], ...]
    caption: Inline = ()
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure from a file, with its caption; `width` is a share of the page's width."""

    file: Path
    caption: Inline
    width: float = 1.0
    label: str = ""


Block = Heading | Paragraph | Items | Grid | Picture


def inline(markdown: str) -> Inline:
    """The spans of one line of Markdown."""
    spans, place = [], 0
    for found in _INLINE.finditer(markdown):
        if found.start() > place:
            spans.append(Span(markdown[place : found.start()]))
        place = found.end()
        spans.append(_span(found))
    if place < len(markdown):
        spans.append(Span(markdown[place:]))
    return tuple(spans)


def escaped(text: object) -> str:
    """Text from elsewhere, such as a label of the config, as Markdown that shows it as it is."""
    return re.sub(r"([\\*`|\[\]])", r"\\\1", str(text))


def plain(text: object) -> Inline:
    """Text without any markup."""
    return (Span(str(text)),)


def grid(header: Iterable[str], rows: Iterable[Iterable[object]], caption: str = "") -> Grid:
    """A table of Markdown cells."""
    cells = tuple(tuple(inline(str(cell)) for cell in row) for row in rows)
    return Grid(tuple(inline(title) for title in header), cells, inline(caption))


def parsed(markdown: str) -> Iterator[Block]:
    """The blocks of a Markdown text: headings with #, bold lines as headings, lists with - or *,
    tables with |, and paragraphs. Pictures are left out."""
    waiting = markdown.splitlines()
    while waiting:
        line = waiting.pop(0).rstrip()
        if not line or line.startswith(("![", "<!--")):
            continue
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            yield Heading(level, inline(line[level:].strip()))
        elif re.fullmatch(r"\*\*[^*]+[^*.]\*\*", line):  # a sentence in bold is no heading
            yield Heading(3, plain(line[2:-2]))
        elif line.startswith("|"):
            yield _table([line, *_taken(waiting, "|")])
        elif line.startswith(("- ", "* ")):
            items = [line, *_taken(waiting, line[:2])]
            yield Items(tuple(inline(item[2:]) for item in items))
        else:
            text = " ".join([line, *_paragraph(waiting)])
            yield Paragraph(inline(text), text.startswith("**Warning"))


def _span(found: re.Match) -> Span:
    if found["escaped"]:
        return Span(found["escaped"])
    for style in (STRONG, EMPH, CODE, CITE):
        if found[style]:
            return Span(found[style], style)
    return Span(found["code2"], CODE) if found["code2"] else Span(found["text"] or "")


def _taken(waiting: list[str], start: str) -> Iterator[str]:
    while waiting and waiting[0].startswith(start):
        yield waiting.pop(0).rstrip()


def _paragraph(waiting: list[str]) -> Iterator[str]:
    while (
        waiting
        and waiting[0].strip()
        and not waiting[0].startswith(("|", "- ", "* ", "#", "![", "**"))
    ):
        yield waiting.pop(0).strip()


def _table(lines: list[str]) -> Grid:
    rows = [_cells(line) for line in lines]
    return Grid(rows[0], tuple(rows[2:]))


def _cells(line: str) -> tuple[Inline, ...]:
    inside = re.sub(r"^\||\|$", "", line.strip())
    return tuple(inline(cell.strip()) for cell in re.split(r"(?<!\\)\|", inside))
