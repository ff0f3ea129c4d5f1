"""Documents from local files: plain text, JSONL and parquet."""

import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from muonlab.data.documents import Mended
from muonlab.data.sections import Place, Text
from muonlab.io.errors import UserError

# If a plain text does not mark where documents start, paragraphs are joined until they have this
# many characters, because a heading or a line of verse alone is not a useful document.
SHORTEST_DOCUMENT = 2_000
# A file without blank lines is cut at a line end after this many characters, to bound memory.
LONGEST_UNMARKED = 1_000_000
PARQUET_ROWS = 256
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


class LocalText(Text):
    """Local files: plain text (.txt and others), JSONL or parquet."""

    source: Literal["local"]
    files: list[str] = Field(min_length=1)
    """Paths of files, or patterns such as corpus/*.jsonl."""
    field: str = "text"
    """Name of the field (JSONL) or column (parquet) with the text."""
    document_start: str | None = None
    """Regular expression that matches the first line of each document in plain text, such as
    '^ = [^=]' for WikiText; null divides the text at blank lines."""

    def inputs(self, place: Place) -> list[Path]:
        return text_files(self.files, place("files")) + super().inputs(place)

    def read(self, place: Place, mended: Mended) -> tuple[dict, Iterator[str]]:
        files, start = text_files(self.files, place("files")), self.document_start
        try:
            re.compile(start or "")
        except re.error as failure:
            raise UserError(
                f"{place('document_start')}: {start!r} is not a regular expression ({failure})"
            ) from failure
        described = {"name": "local", "files": [file.name for file in files]}
        return described, local_documents(files, self.field, start, mended)


def text_files(patterns: list[str], field: str) -> list[Path]:
    """The files that the paths and patterns stand for, each once (`**` matches any subfolders).

    They are in the order of the list; files that match the same pattern are sorted. Raises
    UserError for an entry of `field` that matches no file, only folders, or a compressed file.
    """
    found: dict[Path, None] = {}
    for position, pattern in enumerate(patterns):
        entry = f"{field}[{position}]"
        # An existing path is taken literally, because a file name may contain brackets.
        names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not names:
            matches = "matches no file" if glob.has_magic(pattern) else "does not exist"
            raise UserError(f"{entry}: {pattern} {matches}")
        files = [Path(name) for name in names if Path(name).is_file()]
        if not files:
            raise UserError(f"{entry}: {pattern} is a folder; name its files, such as {pattern}/*")
        for file in files:
            if file.suffix.lower() in COMPRESSED:
                raise UserError(f"{entry}: {file} is compressed; unpack it first")
            found[file] = None
    return list(found)


def local_documents(
    files: list[Path], field: str, document_start: str | None, mended: Mended
) -> Iterator[str]:
    """The documents of local files, one file after the other.

    In .jsonl and .parquet files the `field` of each record is a document; every other file is read
    as plain text. Raises UserError for a file that cannot be read, and for a broken record, with
    its file and line.
    """
    for path in files:
        try:
            if path.suffix.lower() == ".jsonl":
                yield from jsonl_documents(path, field, mended)
            elif path.suffix.lower() == ".parquet":
                yield from parquet_documents(path, field)
            else:
                yield from plain_documents(path, document_start, mended)
        except OSError as failure:
            reason = failure.strerror or failure
            raise UserError(f"{path}: cannot be read ({reason})") from failure


def plain_documents(path: Path, document_start: str | None, mended: Mended) -> Iterator[str]:
    """The documents of a plain text file.

    With the pattern `document_start`, each line in which it is found starts a document. Without it,
    blank lines separate paragraphs, and a document ends at the first blank line after
    SHORTEST_DOCUMENT characters. Neighbouring documents may then come from the same longer text, so
    set `document_start` if the file marks its documents.
    """
    starts = re.compile(document_start) if document_start is not None else None
    lines: list[str] = []
    size = 0
    with open(path, "rb") as file:
        for line in map(mended.decode, file):
            if starts:
                ends_before = starts.search(line) is not None
            else:
                blank = line.isspace()
                ends_before = (blank and size >= SHORTEST_DOCUMENT) or size >= LONGEST_UNMARKED
            if ends_before and lines:
                yield "".join(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
    if lines:
        yield "".join(lines)


def jsonl_documents(path: Path, field: str, mended: Mended) -> Iterator[str]:
    """The `field` of each JSON object in a .jsonl file. Blank lines are skipped."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw.isspace():
                continue
            try:
                record = json.loads(mended.decode(raw).removeprefix("\ufeff"))
            except (json.JSONDecodeError, RecursionError) as failure:
                reason = getattr(failure, "msg", "nested too deeply")
                raise UserError(f"{path}, line {number}: is not JSON ({reason})") from failure
            text = record.get(field) if isinstance(record, dict) else None
            if not isinstance(text, str):
                raise UserError(f"{path}, line {number}: has no text in the field {field!r}")
            yield text


def parquet_documents(path: Path, field: str) -> Iterator[str]:
    """The values of the column `field` of a parquet file. A few rows are read at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if field not in file.schema_arrow.names:
                there = ", ".join(file.schema_arrow.names)
                raise UserError(f"{path}: has no column {field!r}; its columns are {there}")
            row = 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=[field]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if not isinstance(text, str):
                        raise UserError(f"{path}, row {row}: has no text in the field {field!r}")
                    yield text
    except pa.ArrowException as failure:
        reason = str(failure).splitlines()[0]
        raise UserError(f"{path}: is not a readable parquet file ({reason})") from failure
