"""Files of tokens: for each split one flat array, and the positions where its documents start.

`<split>.tokens` holds the tokens as little-endian uint16 (uint32 for a vocabulary of more than
65,536), each document followed by the end of text. `<split>.offsets` holds, as little-endian int64,
the start of each document and finally the number of tokens. The files are written and scanned in
pieces, so that memory does not grow with their size; training reads them through memory maps.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muonlab.io.errors import UserError

OFFSET = np.dtype("<i8")
CHUNK = 2**20  # number of tokens that are scanned at a time
BUFFER = 2**20  # bytes


class TokenFile(NamedTuple):
    """Tokens (n,) and the offsets (documents + 1,) of a split, in memory or in their files."""

    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1


def load_tokens(folder: Path, split: str, facts: dict) -> TokenFile:
    """A split of a prepared corpus as memory maps; `facts` is the content of its digest.json.

    Raises UserError if the files do not fit `facts`.
    """
    files = SplitFiles(Path(folder), split, np.dtype(facts["dtype"]).newbyteorder("<"))
    tokens, offsets = files.map()
    expected = facts["splits"][split]
    if len(tokens) != expected["tokens"] or len(offsets) - 1 != expected["documents"]:
        raise UserError(
            f"{files.tokens}: holds {len(tokens)} tokens in {len(offsets) - 1} documents, but "
            f"digest.json says {expected['tokens']} in {expected['documents']}; it is damaged, and "
            "preparing the data again will make it anew (delete its folder)"
        )
    return TokenFile(tokens, offsets)


def join(parts: list[TokenFile]) -> TokenFile:
    """Joins several splits in memory (2 or 4 bytes per token). A single split is returned as it
    is."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.cumsum([0, *(len(part.tokens) for part in parts)])
    starts = [part.offsets[:-1] + at for part, at in zip(parts, lengths[:-1], strict=True)]
    return TokenFile(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([*starts, lengths[-1:]]).astype(np.int64),
    )


class SplitFiles:
    """The two files of a split, while the corpus is being prepared."""

    def __init__(self, folder: Path, split: str, dtype: np.dtype):
        self.tokens, self.offsets = folder / f"{split}.tokens", folder / f"{split}.offsets"
        self.dtype = dtype

    def __len__(self) -> int:
        """Number of tokens."""
        return self.tokens.stat().st_size // self.dtype.itemsize

    def map(self) -> TokenFile:
        """Memory maps of both files. An empty file cannot be mapped, so it gives an empty array."""
        return TokenFile(_mapped(self.tokens, self.dtype), _mapped(self.offsets, OFFSET))

    def starts(self) -> np.ndarray:
        """The offsets (documents + 1,), read into memory: 8 bytes per document."""
        return np.fromfile(self.offsets, dtype=OFFSET)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The tokens at positions `start` to `stop` - 1, or to the end of the file."""
        place = start * self.dtype.itemsize
        return np.fromfile(self.tokens, dtype=self.dtype, count=stop - start, offset=place)

    def chunks(self, overlap: int = 0, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
        """All tokens in pieces of `size`, each with the position of its first token. A piece also
        contains the `overlap` tokens that follow it."""
        for start in range(0, len(self), size):
            yield start, self.read(start, start + size + overlap)

    def in_documents(self) -> Iterator[np.ndarray]:
        """The documents one after the other, each with its end of text."""
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
        """The SHA-256 of the bytes of both files, tokens first."""
        digest = hashlib.sha256()
        for path in (self.tokens, self.offsets):
            with open(path, "rb") as file:
                while piece := file.read(BUFFER):
                    digest.update(piece)
        return digest.hexdigest()


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    size = path.stat().st_size
    if size % dtype.itemsize:
        raise UserError(
            f"{path}: ends in the middle of a number; it is damaged, and preparing the data again "
            "will make it anew (delete its folder)"
        )
    return np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype)


class TokenWriter:
    """A context manager that writes documents one after the other."""

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
        """Writes a document (n,) and the end of text after it."""
        self._tokens.write(tokens.astype(self.files.dtype, copy=False).tobytes())
        self._tokens.write(self.end.tobytes())
        self.written += len(tokens) + 1
        self.documents += 1
        self._write_offset()

    def _write_offset(self) -> None:
        self._offsets.write(np.array([self.written], dtype=OFFSET).tobytes())
