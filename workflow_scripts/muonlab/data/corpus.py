"""A corpus: documents without duplicates, each in one split, and a file that holds them.

A document's split depends on `split_seed` and its content alone, so that equal documents would land
in the same split and nothing has to be remembered of the others.
"""

import hashlib
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "validation", "test")
RECORD = struct.Struct("<BQ")


class Document(NamedTuple):
    """A text and its split, as a place in SPLITS."""

    split: int
    text: str


class Reading:
    """What is read of a source: how much, its SHA-256, and how many duplicates were left out."""

    def __init__(self):
        self.documents, self.bytes, self.duplicates = 0, 0, 0
        self._digest = hashlib.sha256()

    def count(self, text: str) -> None:
        raw = text.encode("utf-8")
        self.documents += 1
        self.bytes += len(raw)
        # The length first: two documents are not one that holds both.
        self._digest.update(struct.pack("<Q", len(raw)))
        self._digest.update(raw)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class DigestSet:
    """A growing set of 64-bit digests in 8 bytes each: a sorted array, and a small set of new ones
    that is merged into it when it is full."""

    def __init__(self, full: int = 65_536):
        self.full, self.sorted = full, np.empty(0, dtype=np.uint64)
        self.new: set[int] = set()

    def add(self, digest: int) -> bool:
        """Adds the digest; False where it is there already."""
        place = np.searchsorted(self.sorted, np.uint64(digest))
        there = place < len(self.sorted) and int(self.sorted[place]) == digest
        if there or digest in self.new:
            return False
        self.new.add(digest)
        # A share of the whole, so that all merges together cost no more than a sort.
        if len(self.new) >= max(self.full, len(self.sorted) // 16):
            fresh = np.fromiter(self.new, dtype=np.uint64, count=len(self.new))
            self.sorted = np.sort(np.concatenate([self.sorted, fresh]))
            self.new.clear()
        return True


def normalised(text: str) -> str:
    """The content by which documents are equal: composed characters (Unicode NFC), and one space
    for each run of white space."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def content_digests(text: str, split_seed: int) -> tuple[int, float]:
    """A 64-bit digest of the normalised text and a number in [0, 1) that depends on the seed too.

    Two different documents of n share a digest with probability n² / 2⁶⁵: 10⁻⁷ for two million.
    """
    content = hashlib.blake2b(normalised(text).encode("utf-8"), digest_size=16).digest()
    seeded = hashlib.blake2b(content + f"/{split_seed}".encode(), digest_size=8).digest()
    return int.from_bytes(content[:8], "little"), int.from_bytes(seeded, "little") / 2**64


def split_documents(
    texts: Iterable[str], validation: float, test: float, split_seed: int, reading: Reading
) -> Iterator[Document]:
    """The first of each set of equal documents, with its split.

    `validation` and `test` are the probabilities of these splits; the shares of a small corpus
    differ from them by chance. `reading` counts what passes, duplicates included.
    """
    seen = DigestSet()
    for text in texts:
        reading.count(text)
        digest, place = content_digests(text, split_seed)
        if not seen.add(digest):
            reading.duplicates += 1
        elif place < validation:
            yield Document(SPLITS.index("validation"), text)
        elif place < validation + test:
            yield Document(SPLITS.index("test"), text)
        else:
            yield Document(SPLITS.index("train"), text)


class Spool:
    """Documents kept in a file, for a second pass over a source that is read once."""

    def __init__(self, path: Path):
        self.path, self.bytes, self.train_bytes = path, 0, 0

    def fill(self, documents: Iterator[Document], limit: int | None) -> None:
        """Takes documents until there are no more or they hold `limit` bytes."""
        with open(self.path, "wb") as file:
            for split, text in documents:
                raw = text.encode("utf-8")
                file.write(RECORD.pack(split, len(raw)))
                file.write(raw)
                self.bytes += len(raw)
                self.train_bytes += len(raw) if SPLITS[split] == "train" else 0
                if limit is not None and self.bytes >= limit:
                    return

    def __iter__(self) -> Iterator[Document]:
        with open(self.path, "rb") as file:
            while header := file.read(RECORD.size):
                split, length = RECORD.unpack(header)
                yield Document(split, file.read(length).decode("utf-8"))

    def sample(self, limit: int) -> Iterator[str]:
        """Training documents of some `limit` bytes in all, taken evenly over the file."""
        share = min(1.0, limit / max(self.train_bytes, 1))
        seen = taken = 0
        for split, text in self:
            if SPLITS[split] == "train":
                size = len(text.encode("utf-8"))
                seen += size
                if share == 1.0 or taken + size <= share * seen:
                    taken += size
                    yield text
