"""Which process of a team orthogonalizes which matrices, so that each is orthogonalized once."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Team(Protocol):
    """The processes that train one model together (`training.team.Team`)."""

    rank: int
    size: int

    def send(self, tensors: Sequence[Tensor], owner: int) -> None:
        """Gives all processes the tensors of the process `owner`."""


def cost(p: Tensor) -> int:
    """What orthogonalizing a parameter's matrices (m, n) or (k, m, n) costs: k·m·n·min(m, n)."""
    return p.numel() * min(p.shape[-2:])


def shares(costs: Sequence[int], size: int) -> list[list[int]]:
    """The places in `costs` divided into `size` parts of about equal cost, the same on every
    process: the largest first, each to the part that has the least so far (Graham 1969)."""
    parts: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for place in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = loads.index(min(loads))
        parts[least].append(place)
        loads[least] += costs[place]
    return [sorted(part) for part in parts]
