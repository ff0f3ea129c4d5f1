"""Named random streams: each is a function of a run's seed and the stream's name alone.

The stream for initial weights does not depend on how many numbers the data order has drawn, nor
the other way round, so two arms of one seed share both whatever else they do.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_key(seed: int, *names: str | int) -> int:
    """A 63-bit key for the stream `names` of `seed`."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A counter-based numpy generator for the stream."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator for the stream."""
    import torch  # late: the plan reads data folders through modules that import this one

    return torch.Generator(device).manual_seed(stream_key(seed, *names))
