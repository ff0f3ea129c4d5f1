"""Counts the evaluation documents that have a near duplicate among the training documents.

A document is treated as the set of its shingles, which are its spans of SHINGLE tokens. Two
documents are near duplicates if the Jaccard similarity J of their sets reaches a threshold. J is
estimated from sketches, which hold the SKETCH smallest hashes of each set (bottom-k MinHash:
Broder, On the resemblance and containment of documents, 1997): the estimate is the share of the
SKETCH smallest hashes of both sets together that are in both sets. Documents of at most SKETCH
shingles are compared exactly; otherwise the standard error is √(J(1 - J) / SKETCH), which is 0.025
at J = 0.8.
"""

import numpy as np

from muonlab.data.spans import span_hashes
from muonlab.data.tokens import SplitFiles

SHINGLE = 5
SKETCH = 256
# How many evaluation documents of a split are compared with all training documents.
SAMPLE = 1000


def sketch(tokens: np.ndarray, size: int = SKETCH) -> np.ndarray:
    """The smallest `size` hashes of the document's shingles, sorted. A document that is shorter
    than a shingle counts as one shingle."""
    return np.unique(span_hashes(tokens, max(min(SHINGLE, len(tokens)), 1)))[:size]


def similarity(one: np.ndarray, other: np.ndarray, size: int = SKETCH) -> float:
    """The Jaccard similarity of two documents, estimated from their sketches."""
    together = np.union1d(one, other)[:size]
    both = np.intersect1d(one, other, assume_unique=True)
    return float(np.isin(together, both).mean()) if len(together) else 0.0


class SketchIndex:
    """Finds which documents of a sample are similar to a given document."""

    def __init__(self, sketches: list[np.ndarray]):
        self.sketches = sketches
        self.sizes = np.array([len(s) for s in sketches], dtype=np.int64)
        owners = np.repeat(np.arange(len(sketches)), self.sizes)
        every = np.concatenate([np.empty(0, dtype=np.uint64), *sketches])
        self.owners = owners[np.argsort(every, kind="stable")]
        self.hashes, counts = np.unique(every, return_counts=True)
        self.ends = np.cumsum(counts)

    def close_to(self, asked: np.ndarray, threshold: float) -> list[int]:
        """The documents whose estimated similarity with the sketch `asked` reaches `threshold`."""
        if not len(self.hashes):
            return []
        places = np.searchsorted(self.hashes, asked)
        places[places == len(self.hashes)] = 0
        hits = places[self.hashes[places] == asked]
        starts = np.where(hits > 0, self.ends[hits - 1], 0)
        owners = [
            self.owners[start : self.ends[hit]] for start, hit in zip(starts, hits, strict=True)
        ]
        shared = np.bincount(
            np.concatenate([np.empty(0, dtype=np.int64), *owners]), minlength=len(self.sketches)
        )
        # For an estimate to reach the threshold, at least this many hashes must be shared.
        needed = np.maximum(threshold * np.maximum(self.sizes, len(asked)), 1)
        candidates = np.flatnonzero(shared >= needed).tolist()
        return [c for c in candidates if similarity(asked, self.sketches[c]) >= threshold]


def near_duplicate_rates(
    evaluation: dict[str, SplitFiles], train: SplitFiles, threshold: float
) -> dict[str, dict]:
    """For each evaluation split, the share of its documents that have a near duplicate in `train`.

    At most SAMPLE documents of a split, evenly spread, are compared; all training documents are
    read one after the other and compared with the sketches of these.
    """
    samples = {split: _sample(files) for split, files in evaluation.items()}
    index = SketchIndex([one for sample in samples.values() for one in sample])
    close = np.zeros(len(index.sketches), dtype=bool)
    for document in train.in_documents():
        close[index.close_to(sketch(document[:-1]), threshold)] = True
    rates, first = {}, 0
    for split, sample in samples.items():
        found = int(close[first : first + len(sample)].sum())
        rates[split] = {
            "documents_compared": len(sample),
            "near_duplicates": found,
            "rate": found / max(len(sample), 1),
        }
        first += len(sample)
    return rates


def _sample(files: SplitFiles) -> list[np.ndarray]:
    documents = len(files.starts()) - 1
    chosen = set(np.linspace(0, documents - 1, min(documents, SAMPLE)).astype(int).tolist())
    return [
        sketch(document[:-1])
        for number, document in enumerate(files.in_documents())
        if number in chosen
    ]
