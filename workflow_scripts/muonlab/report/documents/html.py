"""Blocks as HTML."""

import base64
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape
from io import BytesIO
from pathlib import Path

from muonlab.report.documents.blocks import (
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

TAGS = {STRONG: "strong", EMPH: "em", CODE: "code"}
WIDTH, COLOURS = 1000, 48  # of pictures: pixels and colours at most


def html(blocks: Iterable[Block], shift: int = 0) -> str:
    """The blocks as HTML; headings are `shift` levels lower.

    Pictures take nearly all of the time and are made at the same time on all cores: a page is the
    last of a workflow's jobs, when no other needs them.
    """
    blocks = list(blocks)
    files = list(dict.fromkeys(block.file for block in blocks if isinstance(block, Picture)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = dict(zip(files, pool.map(picture, files), strict=True))
    return "\n".join(_block(block, shift, sources) for block in blocks)


def spans(text: Inline) -> str:
    return "".join(
        f"<{TAGS[span.style]}>{escape(span.text)}</{TAGS[span.style]}>"
        if span.style in TAGS
        else escape(span.text)
        for span in text
    )


def picture(file: Path) -> str:
    """A picture as the value of `src`: WebP of at most `WIDTH` pixels, so that a page that holds
    dozens of them stays small. Charts have few colours; with no more than `COLOURS` and without
    loss they are smaller than with WebP's losses, and their letters stay sharp."""
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    if image.width > WIDTH:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    few = image.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    stream = BytesIO()
    few.convert("RGB").save(stream, "webp", lossless=True, quality=50, method=2)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _block(block: Block, shift: int, sources: Mapping[Path, str]) -> str:
    match block:
        case Heading(level, text, label):
            level = min(6, level + shift)
            mark = f' id="{escape(label)}"' if label else ""
            return f"<h{level}{mark}>{spans(text)}</h{level}>"
        case Paragraph(text, warning):
            mark = ' class="warning"' if warning else ""
            return f"<p{mark}>{spans(text)}</p>"
        case Items(items):
            return "<ul>" + "".join(f"<li>{spans(item)}</li>" for item in items) + "</ul>"
        case Grid():
            return _grid(block)
        case Picture(file, caption, _, label):
            mark = f' id="{escape(label)}"' if label else ""
            told = f"<figcaption>{spans(caption)}</figcaption>" if caption else ""
            shown = f'<img loading="lazy" alt="" src="{sources[file]}">'
            return f"<figure{mark}>{shown}{told}</figure>"
    raise TypeError(f"{type(block).__name__} is no block.")


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{spans(title)}</th>" for title in grid.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{spans(cell)}</td>" for cell in row) + "</tr>" for row in grid.rows
    )
    told = f"<caption>{spans(grid.caption)}</caption>" if grid.caption else ""
    table = f"<table>{told}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="wide">{table}</div>'
