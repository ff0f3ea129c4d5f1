"""Matrices of one shape, stacks of experts included, as batches that are decomposed together."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

AT_ONCE = 2**25  # elements in one batch, which bounds the memory of a record

Member = tuple[str, int | None]  # a tensor's name, and which of its experts
State = Mapping[str, Tensor]  # a model's tensors, or something of each of them, by name


def groups(state: State) -> Iterator[list[Member]]:
    """The matrices of one shape together, at most `AT_ONCE` elements at a time."""
    by_shape: dict[tuple, list[Member]] = {}
    for name, tensor in state.items():
        if tensor.ndim in (2, 3):
            experts = [None] if tensor.ndim == 2 else range(len(tensor))
            by_shape.setdefault(tuple(tensor.shape[-2:]), []).extend((name, e) for e in experts)
    for shape, members in by_shape.items():
        size = max(1, AT_ONCE // math.prod(shape))
        yield from (members[i : i + size] for i in range(0, len(members), size))


def stack(state: State, members: Sequence[Member]) -> Tensor:
    """Matrices of one shape as (b, m, n), in float64, so that small differences are not lost."""
    own = (state[name] if expert is None else state[name][expert] for name, expert in members)
    return torch.stack([matrix.double() for matrix in own])
