"""Parameters that are sharded over processes (DTensors, as FSDP2's `fully_shard` makes them).

Momentum and weight decay act on entries, so each process moves its own shard. The polar factor is
that of the whole matrix: each process gathers it, one bundle at a time, orthogonalizes it and takes
its own part of the result. Every process therefore does the whole Newton–Schulz iteration, as with
DistributedDataParallel, and holds one bundle of whole matrices at a time, no more. A stack of
matrices that is sharded by its first dimension (experts) has whole matrices on each process, which
are updated there, without communication.
"""

import sys
from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor. Nobody can have one who has not imported their module."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """This process's part of the tensor, which shares its memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def has_whole_matrices(p: Tensor) -> bool:
    """Whether every matrix of the parameter lies whole on one process."""
    if not is_sharded(p):
        return True
    return all(
        place.is_replicate() or (p.ndim == 3 and place.is_shard(0)) for place in p.placements
    )


def gathered(part: Tensor, p: Tensor) -> Tensor:
    """The whole matrices of which `part` is what this process has of the parameter p's."""
    if has_whole_matrices(p):
        return part
    from torch.distributed.tensor import DTensor

    layout: dict[str, Any] = {"shape": p.shape, "stride": p.stride(), "run_check": False}
    return DTensor.from_local(part, p.device_mesh, p.placements, **layout).full_tensor()


def own_part(whole: Tensor, p: Tensor) -> Tensor:
    """What this process has of whole matrices, the same on all processes, laid out as p is."""
    if has_whole_matrices(p):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    everywhere = [Replicate()] * p.device_mesh.ndim
    spread = DTensor.from_local(whole, p.device_mesh, everywhere, run_check=False)
    return spread.redistribute(placements=p.placements).to_local()


def stand_in(p: Tensor) -> Tensor:
    """A tensor that takes no memory, with dtype and device of p and the shape of the matrices that
    this process orthogonalizes."""
    if not is_sharded(p):
        return p
    part = p.to_local()
    return part if has_whole_matrices(p) else part.new_empty(()).expand(p.shape)


def like(p: Tensor, shape: torch.Size) -> Tensor:
    """Zeros of this shape on p's device, sharded as p if they have its shape."""
    if is_sharded(p):
        return torch.zeros_like(p, requires_grad=False)
    return torch.zeros(shape, dtype=p.dtype, device=p.device)
