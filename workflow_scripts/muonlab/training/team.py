"""The processes that train one run together, each with a part of every batch.

Every process has the whole model and makes the same update: gradients are summed over the team
before they are clipped, so weights stay equal without being sent. `torchrun` starts the processes
and tells each its rank (`train_member.py`); they speak by gloo on CPUs and by NCCL on GPUs.
"""

import os
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

NOTHING, SAVE, STOP = range(3)
# The leader may wait for the lock of its run. A member that dies is noticed at once, by its closed
# connections and by torchrun.
PATIENCE = timedelta(days=7)


class Team:
    """One process of a team of `size`, of which this is number `rank`; number 0 leads. A team of
    one communicates with nobody."""

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu"):
        self.rank, self.size, self.device = rank, size, device

    @property
    def leads(self) -> bool:
        """Whether this process records, saves and publishes."""
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of the examples `indices`: every size-th of them."""
        return indices[self.rank :: self.size]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the team."""
        for together in by_kind(tensors) if self.size > 1 else ():
            flat = torch.cat([t.reshape(-1) for t in together])
            dist.all_reduce(flat)
            put_back(flat, together)

    def send(self, tensors: Sequence[Tensor], owner: int) -> None:
        """Gives all processes the tensors of the process `owner`."""
        for together in by_kind(tensors) if self.size > 1 else ():
            flat = torch.cat([t.reshape(-1) for t in together])
            dist.broadcast(flat, owner)
            if owner != self.rank:
                put_back(flat, together)

    def agree(self, wish: int) -> int:
        """The largest wish of any process: NOTHING, SAVE or STOP. All must ask at the same time."""
        if self.size == 1:
            return wish
        asked = torch.tensor(wish, device=self.device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        return int(asked)

    def tell(self, word: int = 0) -> int:
        """The leader's word, which all processes get. All must ask at the same time."""
        if self.size == 1:
            return word
        told = torch.tensor(word, device=self.device)
        dist.broadcast(told, 0)
        return int(told)


def by_kind(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors of each dtype, which travel together."""
    kinds: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.dtype, []).append(tensor)
    return list(kinds.values())


@torch.no_grad()
def put_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copies the parts of a flat tensor into the tensors that it was made of."""
    parts = flat.split([t.numel() for t in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def join(device: str) -> Team:
    """This process's team, as torchrun's environment variables describe it."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
    return Team(rank, size, device)
