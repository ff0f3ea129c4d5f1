"""Blocks as Typst's markup, with every text escaped."""

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from muonlab.report.documents.blocks import (
    CITE,
    CODE,
    EMPH,
    STRONG,
    Block,
    Grid,
    Heading,
    Inline,
    Items,
    Paragraph,
    Picture,
)

FUNCTIONS = {STRONG: "strong", EMPH: "emph"}
WIDE = 6  # a table with more columns is set in a smaller size


def typst(
    blocks: Iterable[Block], place: Callable[[Path], str], keys: Collection[str] = frozenset()
) -> str:
    """The blocks as Typst. `place` gives the path of a picture as the document names it; a citation
    of what is none of `keys`, those of the bibliography, is printed as text."""
    return "\n\n".join(_block(block, place, keys) for block in blocks)


def cite_keys(references: str) -> frozenset[str]:
    """The keys of a bibliography in BibTeX."""
    return frozenset(re.findall(r"^@\w+\{(\w+),", references, re.M))


def string(text: str) -> str:
    """A string of Typst's code, in which nothing is markup. Control characters are left out."""
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def spans(text: Inline, keys: Collection[str] = frozenset()) -> str:
    """The spans as code that shows them: every text is a string, so no character is markup."""
    return "".join(_span(span.text, span.style, keys) for span in text)


def _span(text: str, style: str, keys: Collection[str]) -> str:
    if style == CODE:
        return f"#raw({string(text)})"
    if style == CITE:  # a key that the bibliography lacks would stop the compiler
        return f"#cite(label({string(text)}))" if text in keys else f"#text({string(text)})"
    if style:
        return f"#{FUNCTIONS[style]}[#text({string(text)})]"
    return f"#text({string(text)})"


def _block(block: Block, place: Callable[[Path], str], keys: Collection[str]) -> str:
    match block:
        case Heading(level, text, label):
            mark = f" <{label}>" if label else ""
            return f"#heading(level: {level})[{spans(text)}]{mark}"
        case Paragraph(text, warning):
            shown = spans(text, keys)
            return f"#warning[{shown}]" if warning else shown
        case Items(items):
            return "#list(" + ", ".join(f"[{spans(item, keys)}]" for item in items) + ")"
        case Grid():
            return _grid(block)
        case Picture(file, caption, width, label):
            mark = f" <{label}>" if label else ""
            image = f"picture({string(place(file))}, {100 * width:g}%)"
            return f"#figure({image}, caption: [{spans(caption)}]){mark}"
    raise TypeError(f"{type(block).__name__} is no block.")


def _grid(grid: Grid) -> str:
    columns = len(grid.header)
    head = ", ".join(f"[{spans(title)}]" for title in grid.header)
    cells = ", ".join(f"[{spans(cell)}]" for row in grid.rows for cell in row)
    widths = ", ".join(_width(grid, i) for i in range(columns))
    size = "6.5pt" if columns > WIDE else "8pt"
    table = f"grid-table(({widths},), size: {size}, ({head},), ({cells},))"
    if not grid.caption:
        return f"#{table}"
    mark = f" <{grid.label}>" if grid.label else ""
    return f"#figure({table}, kind: table, caption: [{spans(grid.caption)}]){mark}"


def _width(grid: Grid, column: int) -> str:
    """A column takes a part of the width that follows the length of its longest text."""
    texts = [grid.header[column], *(row[column] for row in grid.rows if column < len(row))]
    longest = max(sum(len(span.text) for span in text) for text in texts)
    return f"{max(3.0, min(30.0, longest)) ** 0.7:.1f}fr"
