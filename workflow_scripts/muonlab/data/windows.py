"""Windows of tokens: the inputs of a language model and the targets that it has to predict."""

import numpy as np

from muonlab.io.errors import UserError
from muonlab.streams import stream_key

IGNORED = -100  # a target that does not count, as in torch.nn.functional.cross_entropy


class Windows:
    """Windows of `length` tokens that do not overlap and together cover a split.

    Window i reads tokens i·length … (i + 1)·length - 1 and predicts the token after each. A rest at
    the end of the split that is too short for a window and its last target is not read. `tokens`
    (n,) and `offsets` (documents + 1,) are arrays or memory maps; `name` is used in messages.

    With `across_documents`, as in published sources, the ends of documents are ignored: the first
    token of the next document is a target like any other.
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
                f"last target need {length + 1}; use more text or a shorter model.context"
            )
        self.tokens, self.offsets, self.length = tokens, offsets, length
        self.across_documents = across_documents

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    @property
    def covering(self) -> int:
        """The number of windows, evenly spread, whose evaluation counts as that of the whole split:
        all of them, which read each token once."""
        return len(self)

    def starts(self, indices: np.ndarray) -> np.ndarray:
        """Positions of the first tokens of the windows `indices`: (b,) int64."""
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
        """The document of each position, numbered from 0 in each row: (b, length + 1) int32."""
        numbers = np.searchsorted(self.offsets, places.ravel(), side="right").reshape(places.shape)
        return (numbers - numbers[:, :1]).astype(np.int32)


class OverlappingWindows(Windows):
    """A fault of a published source, kept so that its effect can be shown: windows start at *every*
    token of the joined training and validation text, and are divided at random into a training part
    and an evaluation part.

    Nearly every evaluation window then overlaps a training window in all but one token, so its loss
    shows how well the text was memorised. `fraction` of the windows form the evaluation part; with
    the same `seed`, the two parts are disjoint and contain all windows. The starts of windows come
    from a keyed permutation that is computed when needed, so no list of them is stored.
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
                f"evaluation, but training and evaluation both need at least one"
            )
        self.first, self.count = (
            (0, held_out) if evaluation else (held_out, self.windows - held_out)
        )
        self.key = stream_key(seed, "overlapping windows")

    def __len__(self) -> int:
        return self.count

    @property
    def covering(self) -> int:
        """As many windows as hold each token of the part once on average. All windows together hold
        each token `length` times, which would make the evaluation longer than the training."""
        return max(1, self.count // self.length)

    def starts(self, indices: np.ndarray) -> np.ndarray:
        return permuted(np.asarray(indices, dtype=np.int64) + self.first, self.windows, self.key)


def permuted(indices: np.ndarray, size: int, key: int, rounds: int = 6) -> np.ndarray:
    """The values at `indices` of a pseudo-random permutation of 0 … size - 1 that `key` selects:
    same shape, int64.

    A balanced Feistel network (Luby & Rackoff 1988) permutes all numbers with an even number of
    bits. A result outside `size` is sent through the network again until it falls inside (cycle
    walking, Black & Rogaway 2002), which takes at most four passes on average.
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
