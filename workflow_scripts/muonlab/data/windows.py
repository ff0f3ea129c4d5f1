"""Windows of tokens: what a language model reads and what it has to predict."""

import numpy as np

from muonlab.io.errors import UserError
from muonlab.streams import stream_key

IGNORED = -100  # target that is not scored, as in torch.nn.functional.cross_entropy


class Windows:
    """Windows of `length` tokens that do not overlap and together cover a split.

    Window i reads tokens i·length … (i + 1)·length - 1 and predicts the token after each. What is
    left at the end of the split, shorter than a window and its last target, is not read. `tokens`
    (n,) and `offsets` (documents + 1,) are arrays or memory maps; `name` is for messages.

    With `across_documents`, as published sources had it, the end of a document means nothing: the
    first token of the next one is a target as any other.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        length: int,
        name: str = "the split",
        across_documents: bool = False,
    ):
        if len(tokens) <= length:
            raise UserError(
                f"{name}: has {len(tokens)} tokens, and one window of {length} tokens and its "
                f"last target need {length + 1}: take more text or a shorter sequence"
            )
        self.tokens, self.offsets, self.length = tokens, offsets, length
        self.across_documents = across_documents

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """First tokens of the windows `indices`: (b,) int64."""
        return np.asarray(indices, dtype=np.int64) * self.length

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs and targets (b, length) int64, and documents (b, length) int32, numbered from 0
        in each window.

        A target is IGNORED where it is the first token of another document.
        """
        places = self.starts(indices)[:, None] + np.arange(self.length + 1)
        tokens = self.tokens[places].astype(np.int64)
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        if self.across_documents:
            documents = np.zeros(inputs.shape, dtype=np.int32)
            return np.ascontiguousarray(inputs), np.ascontiguousarray(targets), documents
        documents = self._documents(places)
        targets = np.where(documents[:, 1:] == documents[:, :-1], targets, IGNORED)
        return np.ascontiguousarray(inputs), targets, np.ascontiguousarray(documents[:, :-1])

    def _documents(self, places: np.ndarray) -> np.ndarray:
        """The document of each place, numbered from 0 in each row: (b, length + 1) int32."""
        numbers = np.searchsorted(self.offsets, places.ravel(), side="right").reshape(places.shape)
        return (numbers - numbers[:, :1]).astype(np.int32)


class OverlappingWindows(Windows):
    """A published fault, kept to be shown: windows that start at *every* token of training and
    validation text joined, drawn at random into a training and an evaluation part.

    Nearly every evaluation window then lies one token beside a training window, and its loss says
    how well the text was memorised. `fraction` of the windows are the evaluation part; both parts
    with one `seed` are disjoint and complete. The starts are a keyed permutation of the places,
    computed when asked for, so that none are stored.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        length: int,
        fraction: float,
        evaluation: bool,
        seed: int,
        name: str = "the split",
        across_documents: bool = True,
    ):
        super().__init__(tokens, offsets, length, name, across_documents)
        self.windows = len(tokens) - length
        held_out = round(self.windows * fraction)
        if not 0 < held_out < self.windows:
            raise UserError(
                f"{name}: a fraction of {fraction} leaves {held_out} of {self.windows} windows for "
                f"evaluation; both parts need one"
            )
        self.first, self.count = (
            (0, held_out) if evaluation else (held_out, self.windows - held_out)
        )
        self.key = stream_key(seed, "overlapping windows")

    def __len__(self) -> int:
        return self.count

    def starts(self, indices: np.ndarray) -> np.ndarray:
        return permuted(np.asarray(indices, dtype=np.int64) + self.first, self.windows, self.key)


def permuted(indices: np.ndarray, size: int, key: int, rounds: int = 6) -> np.ndarray:
    """A pseudo-random permutation of 0 … size - 1 by `key`, at `indices`: same shape, int64.

    A balanced Feistel network (Luby & Rackoff 1988) permutes the numbers of an even number of bits;
    what falls outside `size` is sent through again until it falls inside (cycle walking, Black &
    Rogaway 2002), which is after four times on average at most.
    """
    half = max(1, -(-(size - 1).bit_length() // 2))
    keys = [np.uint64(stream_key(key, "round", number)) for number in range(rounds)]
    result = _feistel(indices.astype(np.uint64), half, keys)
    while (outside := result >= size).any():
        result[outside] = _feistel(result[outside], half, keys)
    return result.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: list[np.uint64]) -> np.ndarray:
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_scramble(right ^ key) & mask)
    return left << bits | right


def _scramble(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return values ^ (values >> np.uint64(32))
