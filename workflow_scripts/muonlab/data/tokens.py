"""Files of tokens: one flat array a split, and where its documents start.

`<split>.tokens` holds little-endian uint16 (uint32 for more than 65,536 tokens), each document
followed by the end of text; `<split>.offsets` holds little-endian int64: the start of each document
and, last, the number of tokens. They are written and scanned in pieces, so that memory does not
grow with them, and read for training by memory maps.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muonlab.io.errors import UserError

OFFSET = np.dtype("<i8")
CHUNK = 2**20  # tokens that are scanned at a time
BUFFER = 2**20  # bytes


class TokenFile(NamedTuple):
    """Tokens (n,) and the offsets (documents + 1,) of a split, in memory or in their files."""

    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1


def load_tokens(folder: Path, split: str, facts: dict) -> TokenFile:
    """A split of a prepared corpus as memory maps; `facts` is its digest.json.

    Raises UserError where the files do not hold what `facts` says.
    """
    files = SplitFiles(Path(folder), split, np.dtype(facts["dtype"]).newbyteorder("<"))
    tokens, offsets = files.map()
    expected = facts["splits"][split]
    if len(tokens) != expected["tokens"] or len(offsets) - 1 != expected["documents"]:
        raise UserError(
            f"{files.tokens}: holds {len(tokens)} tokens in {len(offsets) - 1} documents, where "
            f"digest.json says {expected['tokens']} in {expected['documents']}"
        )
    return TokenFile(tokens, offsets)


def join(parts: list[TokenFile]) -> TokenFile:
    """Several splits as one, in memory (2 or 4 bytes a token); one alone stays where it is."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.cumsum([0, *(len(part.tokens) for part in parts)])
    starts = [part.offsets[:-1] + at for part, at in zip(parts, lengths[:-1], strict=True)]
    return TokenFile(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([*starts, lengths[-1:]]).astype(np.int64),
    )


class SplitFiles:
    """The two files of a split, while they are made."""

    def __init__(self, folder: Path, split: str, dtype: np.dtype):
        self.tokens, self.offsets = folder / f"{split}.tokens", folder / f"{split}.offsets"
        self.dtype = dtype

    def __len__(self) -> int:
        """Number of tokens."""
        return self.tokens.stat().st_size // self.dtype.itemsize

    def map(self) -> TokenFile:
        """Memory maps of both; an empty file cannot be mapped, and is an empty array."""
        maps = [
            np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
            for path, dtype in ((self.tokens, self.dtype), (self.offsets, OFFSET))
        ]
        return TokenFile(*maps)

    def starts(self) -> np.ndarray:
        """The offsets (documents + 1,), in memory: 8 bytes a document."""
        return np.fromfile(self.offsets, dtype=OFFSET)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens from `start` to before `stop`, or to the end of the file."""
        place = start * self.dtype.itemsize
        return np.fromfile(self.tokens, dtype=self.dtype, count=stop - start, offset=place)

    def chunks(self, overlap: int = 0, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
        """All tokens in pieces of `size`, each with `overlap` more of what follows, and the place
        of its first."""
        for start in range(0, len(self), size):
            yield start, self.read(start, start + size + overlap)

    def in_documents(self) -> Iterator[np.ndarray]:
        """The documents in turn, each with its end of text."""
        offsets = self.starts()
        first = 0
        while first < len(offsets) - 1:
            last = int(np.searchsorted(offsets, offsets[first] + CHUNK, side="right")) - 1
            last = max(last, first + 1)
            block = self.read(int(offsets[first]), int(offsets[last]))
            for start, stop in zip(offsets[first:last], offsets[first + 1 : last + 1], strict=True):
                yield block[start - offsets[first] : stop - offsets[first]]
            first = last

    def sha256(self) -> str:
        """Of the bytes of the tokens, then of the offsets."""
        digest = hashlib.sha256()
        for path in (self.tokens, self.offsets):
            with open(path, "rb") as file:
                while piece := file.read(BUFFER):
                    digest.update(piece)
        return digest.hexdigest()


class TokenWriter:
    """Writes documents one after another; use as a context manager."""

    def __init__(self, files: SplitFiles, end_of_text: int):
        self.files, self.end = files, np.array([end_of_text], dtype=files.dtype)
        self.written = self.documents = 0

    def __enter__(self) -> "TokenWriter":
        self._tokens = open(self.files.tokens, "wb", buffering=BUFFER)
        self._offsets = open(self.files.offsets, "wb", buffering=BUFFER)
        self._write_offset()
        return self

    def __exit__(self, *_) -> None:
        self._tokens.close()
        self._offsets.close()

    def add(self, tokens: np.ndarray) -> None:
        """Adds a document (n,), and the end of text after it."""
        self._tokens.write(tokens.astype(self.files.dtype, copy=False).tobytes())
        self._tokens.write(self.end.tobytes())
        self.written += len(tokens) + 1
        self.documents += 1
        self._write_offset()

    def _write_offset(self) -> None:
        self._offsets.write(np.array([self.written], dtype=OFFSET).tobytes())
