"""Removes duplicate documents from a corpus, assigns each document to a split, and stores them.

The split of a document depends on `split_seed` and on its content alone. Equal documents are thus
in the same split, and assigning one needs no information about the others.
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
    """A text and its split, given as an index into SPLITS."""

    split: int
    text: str


class Reading:
    """Counts what is read from a source: documents, bytes, duplicates that were left out, and the
    SHA-256 of the whole."""

    def __init__(self):
        self.documents, self.bytes, self.duplicates = 0, 0, 0
        self._digest = hashlib.sha256()

    def count(self, text: str) -> None:
        raw = text.encode("utf-8")
        self.documents += 1
        self.bytes += len(raw)
        # The length comes first, so that two documents do not hash like one that contains both.
        self._digest.update(struct.pack("<Q", len(raw)))
        self._digest.update(raw)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class DigestSet:
    """A growing set of 64-bit digests that needs about 8 bytes for each: a sorted array, and a
    small set of new digests that is merged into the array when it is full."""

    def __init__(self, full: int = 65_536):
        self.full, self.sorted = full, np.empty(0, dtype=np.uint64)
        self.new: set[int] = set()

    def add(self, digest: int) -> bool:
        """Adds the digest. Returns False if it is already in the set."""
        place = np.searchsorted(self.sorted, np.uint64(digest))
        there = place < len(self.sorted) and int(self.sorted[place]) == digest
        if there or digest in self.new:
            return False
        self.new.add(digest)
        # The size of the new set grows with the array, so that all merges together cost no more
        # than a sort.
        if len(self.new) >= max(self.full, len(self.sorted) // 16):
            fresh = np.fromiter(self.new, dtype=np.uint64, count=len(self.new))
            self.sorted = np.sort(np.concatenate([self.sorted, fresh]))
            self.new.clear()
        return True


def normalised(text: str) -> str:
    """The form in which documents are compared: characters are composed (Unicode NFC), and each run
    of white space becomes one space."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def content_digests(text: str, split_seed: int) -> tuple[int, float]:
    """A 64-bit digest of the normalised text, and a number in [0, 1) that also depends on the seed.

    The probability that two different documents among n share a digest is n² / 2⁶⁵, which is 10⁻⁷
    for two million documents.
    """
    content = hashlib.blake2b(normalised(text).encode("utf-8"), digest_size=16).digest()
    seeded = hashlib.blake2b(content + f"/{split_seed}".encode(), digest_size=8).digest()
    return int.from_bytes(content[:8], "little"), int.from_bytes(seeded, "little") / 2**64


def split_documents(
    texts: Iterable[str], validation: float, test: float, split_seed: int, reading: Reading
) -> Iterator[Document]:
    """The first of each group of equal documents, with its split.

    `validation` and `test` are the probabilities of these splits; in a small corpus their actual
    shares differ by chance. `reading` counts all documents, including duplicates.
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
    """Stores documents in a file, so that a source that is read only once can be passed over
    twice."""

    def __init__(self, path: Path):
        self.path, self.bytes, self.train_bytes = path, 0, 0

    def fill(self, documents: Iterator[Document], limit: int | None) -> None:
        """Stores documents until there are no more or they have `limit` bytes together."""
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
        """Training documents with about `limit` bytes together, taken evenly from the file."""
        share = min(1.0, limit / max(self.train_bytes, 1))
        seen = taken = 0
        for split, text in self:
            if SPLITS[split] == "train":
                size = len(text.encode("utf-8"))
                seen += size
                if share == 1.0 or taken + size <= share * seen:
                    taken += size
                    yield text
