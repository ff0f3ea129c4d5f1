"""The order of batches. It depends on seed and step alone, so that a run which resumes need not
replay earlier steps."""

import numpy as np

from muonlab.streams import numpy_generator


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Number of batches in one pass over the data, including a last, smaller one."""
    return -(-examples // batch_size)


def epoch_order(examples: int, epoch: int, *stream: str | int) -> np.ndarray:
    """The permutation (examples,) in which `epoch` visits the examples; `stream` starts with the
    run's seed."""
    return numpy_generator(*stream, "epoch", epoch).permutation(examples)


class BatchOrder:
    """Computes the indices of the examples in the batch of each step. Keeps the order of one epoch
    in memory."""

    def __init__(self, examples: int, batch_size: int, *stream: str | int):
        self.examples, self.batch_size, self.stream = examples, batch_size, stream
        self.per_epoch = steps_per_epoch(examples, batch_size)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Indices of the examples at `step`, counted from 0: (batch_size,), fewer at the end of an
        epoch."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self.examples, epoch, *self.stream)
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]


def evenly(available: int, wanted: int | None) -> np.ndarray:
    """Indices of `wanted` examples, evenly spread over a split; all of them if `wanted` is None or
    larger than the split."""
    if wanted is None or wanted >= available:
        return np.arange(available)
    return np.arange(wanted) * available // wanted
