"""Documents of text from the standard library and from local files, one at a time.

What is done to text, and counted: bytes that are not UTF-8 become U+FFFD, NUL characters and a byte
order mark at the start are removed, line ends become a newline, and documents without anything but
white space are dropped. A broken record is an error: dropping it would hide that a file is damaged.
"""

import hashlib
import json
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from muonlab.io.errors import UserError

# A document of plain text without marks of its own: paragraphs are joined until they have this
# many characters, since a heading or a line of verse is no document.
SHORTEST_DOCUMENT = 2_000
# A file without blank lines is cut at the end of a line after this many, which bounds memory.
LONGEST_UNMARKED = 1_000_000
PARQUET_ROWS = 256
# Folders of the standard library that are tests, other packages, made by the machine's build, or
# generated: pydoc_data is the language reference as one long text.
NOT_LIBRARY = re.compile(
    r"tests?|idle_test|.*-packages|__pycache__|config-.*|lib-dynload|pydoc_data"
)
MACHINE_MADE = re.compile(r"_sysconfigdata.*|sitecustomize|usercustomize")


@dataclass
class Mended:
    """How often the policy on text was applied."""

    invalid_utf8_replaced: int = 0
    nuls_removed: int = 0
    empty_documents_dropped: int = 0

    def decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("utf-8", errors="replace")
            # A U+FFFD that the text had already is not ours.
            self.invalid_utf8_replaced += text.count("\ufffd") - raw.count(b"\xef\xbf\xbd")
            return text

    def clean(self, text: str) -> str:
        """The text as it enters the corpus; it can always be encoded as UTF-8."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, as JSON can write it
            text, replaced = re.subn("[\ud800-\udfff]", "\ufffd", text)
            self.invalid_utf8_replaced += replaced
        self.nuls_removed += text.count("\0")
        text = text.removeprefix("\ufeff").replace("\0", "")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def kept(self, texts: Iterator[str]) -> Iterator[str]:
        """The cleaned texts that hold more than white space."""
        for text in texts:
            text = self.clean(text)
            if text and not text.isspace():
                yield text
            else:
                self.empty_documents_dropped += 1


def stdlib_documents(max_bytes: int | None, mended: Mended) -> Iterator[str]:
    """The running Python's standard library: its .py files without tests, one a document.

    The order is that of the SHA-256 of a file's path in the library, so that it is the same on
    every machine and a first part of it is a mixture. Reading stops before the file that would
    exceed `max_bytes` in all.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    read = 0
    for path in sorted(_library_files(root), key=_path_digest):
        raw = (root / path).read_bytes()
        read += len(raw)
        if max_bytes is not None and read > max_bytes:
            return
        yield mended.decode(raw)


def _library_files(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not NOT_LIBRARY.fullmatch(name)]
        for path in map(Path, files):
            if path.suffix == ".py" and not MACHINE_MADE.fullmatch(path.stem):
                yield Path(folder, path).relative_to(root)


def _path_digest(path: Path) -> bytes:
    return hashlib.sha256(path.as_posix().encode()).digest()


def local_documents(
    files: list[Path], field: str, document_start: str | None, mended: Mended
) -> Iterator[str]:
    """The documents of local files in turn: .jsonl and .parquet by records (their `field`), every
    other file as plain text.

    Raises UserError for a file that cannot be read and for a broken record, by file and line.
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
    """Documents of a plain text file.

    With the pattern `document_start`, each line in which it is found starts a document. Without it,
    blank lines separate paragraphs, and a document is a run of paragraphs that ends at the first
    blank line after SHORTEST_DOCUMENT characters: neighbours may then come from one longer text, so
    a file whose documents are marked should say how.
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
    """The `field` of each JSON object of a .jsonl file; blank lines are passed over."""
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
    """The column `field` of a parquet file, a few rows of a row group at a time."""
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
