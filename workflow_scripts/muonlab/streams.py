"""Named random streams. Each depends only on a run's seed and on the name of the stream.

For example, the initial weights do not depend on how many random numbers the data order has drawn,
or the other way round. Two arms with the same seed therefore share both, whatever else differs.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def stream_key(seed: int, *names: str | int) -> int:
    """A 63-bit key for the stream `names` of `seed`."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: str | int) -> "np.random.Generator":
    """A counter-based numpy generator for the stream."""
    import numpy as np  # not at the top: an optimizer needs torch alone

    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator for the stream."""
    import torch  # not at the top: the plan imports this module and must not wait for torch

    return torch.Generator(device).manual_seed(stream_key(seed, *names))
