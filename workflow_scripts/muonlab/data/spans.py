"""Finds all spans of tokens that an evaluation split shares with training, and cuts them out.

Every span of SPAN tokens of an evaluation split is hashed, also if it crosses the end of a
document; then the training split is read and compared with these hashes. Shared spans are cut out
of the *evaluation* documents, which are few. Dropping whole documents instead could leave nothing
to evaluate on, for example if half of a corpus begins with the same licence text.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from muonlab.data.tokens import CHUNK, SplitFiles, TokenWriter

SPAN = 64
# Number of hashes of evaluation spans that are held at a time (8 bytes each, plus a bit table). The
# training split is read once for each such block.
HASHES = 2**23
# A piece of a document that remains between two cuts is dropped if it has fewer tokens than this.
SHORTEST_PIECE = 16
FACTOR = 0x9E3779B97F4A7C15  # odd, so that multiplication modulo 2⁶⁴ is invertible


def mix(values: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that spreads their bits (the finalizer of SplitMix64, Steele et
    al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def span_hashes(tokens: np.ndarray, width: int) -> np.ndarray:
    """64-bit hashes (n - width + 1,) of the spans of `width` tokens that start at each position.

    The hash is a polynomial in FACTOR modulo 2⁶⁴, computed by doubling: the hash of a + b tokens is
    that of the first a times FACTOR^b, plus that of the next b.
    """
    if len(tokens) < width:
        return np.empty(0, dtype=np.uint64)
    block = mix(tokens.astype(np.uint64) + np.uint64(FACTOR))
    block_size, whole, size = 1, None, 0
    while True:
        if width & block_size:
            whole = block if whole is None else _append(whole, block, size, block_size)
            size += block_size
        if size == width:
            return mix(whole)
        block, block_size = _append(block, block, block_size, block_size), 2 * block_size


def _append(left: np.ndarray, right: np.ndarray, left_size: int, right_size: int) -> np.ndarray:
    count = len(left) - right_size
    power = np.uint64(pow(FACTOR, right_size, 2**64))
    return left[:count] * power + right[left_size : left_size + count]


class HashTable:
    """A fixed set of hashes. A bit table rules most other hashes out, and the sorted hashes decide
    about the rest."""

    def __init__(self, hashes: np.ndarray):
        """Sorts `hashes` in place to avoid a copy."""
        hashes.sort()
        self.sorted = hashes[np.diff(hashes, prepend=~hashes[:1]) != 0]
        bits = max(10, len(self.sorted).bit_length() + 1)
        self.shift = np.uint64(64 - bits)
        flags = np.zeros(2**bits, dtype=bool)
        flags[self.sorted >> self.shift] = True
        self.bits = np.packbits(flags, bitorder="little")

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The positions in `hashes` of those that are in the set, and their positions in
        `sorted`."""
        slot = hashes >> self.shift
        likely = self.bits[slot >> np.uint64(3)] >> (slot & np.uint64(7)).astype(np.uint8) & 1
        asked = np.flatnonzero(likely)
        places = np.searchsorted(self.sorted, hashes[asked])
        places[places == len(self.sorted)] = 0
        right = self.sorted[places] == hashes[asked] if len(self.sorted) else asked < 0
        return asked[right], places[right]


def shared_runs(
    evaluation: SplitFiles, train: SplitFiles, width: int = SPAN, hashes: int = HASHES
) -> np.ndarray:
    """The parts of `evaluation` that are covered by spans of `width` tokens shared with `train`.

    Returns (k, 2): the first token of each part and the one after its last, in order. The parts do
    not touch.
    """
    blocks = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, max(len(evaluation) - width + 1, 0), hashes):
        stop = min(start + hashes, len(evaluation) - width + 1)
        found = _shared_hashes(evaluation, train, start, stop, width)
        blocks += _runs_of(evaluation, found, start, stop, width) if len(found) else []
    return _merged(np.concatenate(blocks))


def _hashes(files: SplitFiles, start: int, stop: int, width: int) -> Iterator[tuple]:
    """The hashes of the spans that begin at positions `start` to `stop` - 1, one chunk at a time,
    each with the chunk's first position."""
    for place in range(start, stop, CHUNK):
        last = min(place + CHUNK, stop)
        yield place, span_hashes(files.read(place, last + width - 1), width)


def _shared_hashes(
    evaluation: SplitFiles, train: SplitFiles, start: int, stop: int, width: int
) -> np.ndarray:
    own = np.empty(stop - start, dtype=np.uint64)
    for place, hashes in _hashes(evaluation, start, stop, width):
        own[place - start : place - start + len(hashes)] = hashes
    table = HashTable(own)
    del own
    found = np.zeros(len(table.sorted), dtype=bool)
    for _, tokens in train.chunks(overlap=width - 1):
        found[table.find(span_hashes(tokens, width))[1]] = True
    return table.sorted[found]


def _runs_of(
    files: SplitFiles, shared: np.ndarray, start: int, stop: int, width: int
) -> list[np.ndarray]:
    runs, table = [], HashTable(shared)
    for place, hashes in _hashes(files, start, stop, width):
        starts = place + table.find(hashes)[0]
        runs.append(_merged(np.stack([starts, starts + width], axis=1)))
    return runs


def _merged(runs: np.ndarray) -> np.ndarray:
    """Joins those of the parts (k, 2), sorted by their start, that touch or overlap.

    All parts have the same length or do not overlap, so their ends are sorted, too.
    """
    if not len(runs):
        return runs
    new = np.flatnonzero(runs[1:, 0] > runs[:-1, 1]) + 1
    firsts = np.concatenate([[0], new])
    lasts = np.concatenate([new - 1, [len(runs) - 1]])
    return np.stack([runs[firsts, 0], runs[lasts, 1]], axis=1)


@dataclass
class Cut:
    """How much was cut out of a split: documents that lost something, tokens, and bytes of text."""

    documents_cut: int = 0
    tokens_removed: int = 0
    bytes_removed: int = 0


def cut_out(
    files: SplitFiles, runs: np.ndarray, end_of_text: int, text_bytes: Callable, cut: Cut
) -> None:
    """Rewrites `files` without the tokens in `runs`, and adds to `cut` how much was removed.

    The pieces of a document before, between and after the cuts become separate documents; pieces of
    fewer than SHORTEST_PIECE tokens are removed, too. Documents without a cut stay as they are.
    """
    fresh = SplitFiles(files.tokens.parent, f"{files.tokens.stem}.cut", files.dtype)
    start = 0
    with TokenWriter(fresh, end_of_text) as writer:
        for document in files.in_documents():
            stop = start + len(document)
            first = np.searchsorted(runs[:, 1], start, side="right")
            last = np.searchsorted(runs[:, 0], stop, side="left")
            if first < last:
                cut.documents_cut += 1
                # The document's end-of-text token is left out; each piece gets a new one.
                cuts = np.clip(runs[first:last] - start, 0, len(document) - 1)
                for piece, stays in _pieces(document[:-1], cuts):
                    if stays:
                        writer.add(piece)
                    else:
                        cut.tokens_removed += len(piece)
                        cut.bytes_removed += text_bytes(piece)
            else:
                writer.add(document[:-1])
            start = stop
    os.replace(fresh.tokens, files.tokens)
    os.replace(fresh.offsets, files.offsets)


def _pieces(document: np.ndarray, cuts: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """The pieces of the document in order, each with whether it is kept."""
    place = 0
    for start, stop in [*cuts, (len(document), len(document))]:
        if start > place:
            yield document[place:start], start - place >= SHORTEST_PIECE
        if stop > start:
            yield document[start:stop], False
        place = stop
