"""Sorts tokens into groups, and multiplies each group by a matrix of its own.

Shapes: N tokens, S = N · k routed slots, E groups, slots ordered by group.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """y[s] = weight[e] · x[s] for the group e that contains slot s; can be differentiated twice.

    x: (S, in), ordered by group; weight: (E, out, in); ends: (E,) int32, where each group ends
    (the last one is S; a group may be empty). Returns (S, out).

    If torch has a kernel for these dtypes and shapes, it is one grouped product, which on a CUDA
    device needs no transfer to the host. Otherwise each group has its own product.
    """
    if has_grouped_kernel(x, weight):
        return F.grouped_mm(x, weight.mT, offs=ends)
    sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
    pieces = zip(x.split(sizes), weight.unbind(), strict=True)
    return torch.cat([F.linear(piece, matrix) for piece, matrix in pieces])


def has_grouped_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product supports these tensors.

    It needs torch ≥ 2.10, rows that are multiples of 16 bytes, and bfloat16 (on the CPU, or on CUDA
    with capability 8.0 or higher) or float32 (on the CPU, without compilation).
    """
    aligned = all(size * x.element_size() % 16 == 0 for size in weight.shape[1:])
    if not aligned or not hasattr(F, "grouped_mm") or x.numel() == 0:
        return False
    if x.device.type == "cpu":
        single = x.dtype == torch.float32 and not torch.compiler.is_compiling()
        return single or x.dtype == torch.bfloat16
    if x.device.type == "cuda":
        return x.dtype == torch.bfloat16 and torch.cuda.get_device_capability(x.device) >= (8, 0)
    return False


class Slots:
    """The order that sorts the routed slots by expert, and its inverse.

    Slots are numbered choice by choice (slot j · N + n is choice j of token n) and sorted stably.
    Within an expert, first choices thus come before second choices, and tokens keep their order.
    """

    def __init__(self, chosen: Tensor, experts: int):
        """chosen: (N, k) int64, the experts of each token, the best one first."""
        self.tokens, self.choices = chosen.shape
        self.expert, self.order = chosen.T.reshape(-1).sort(stable=True)
        slots = torch.arange(self.order.numel(), device=chosen.device)
        self.inverse = torch.empty_like(self.order).scatter_(0, self.order, slots)
        borders = torch.arange(experts + 1, device=chosen.device)
        self.starts = torch.searchsorted(self.expert, borders, out_int32=True)  # (E + 1,)
        self.ends = self.starts[1:]
        self.counts = self.ends - self.starts[:-1]  # (E,) int32

    def rank(self) -> Tensor:
        """(S,) The position of each slot among those of its expert, from 0, in sorted order."""
        slots = torch.arange(self.order.numel(), device=self.order.device)
        return slots - self.starts[self.expert]

    def spread(self, x: Tensor) -> Tensor:
        """Copies tokens (N, d) to slots (S, d) in sorted order."""
        return _Spread.apply(x, self)

    def collect(self, y: Tensor) -> Tensor:
        """Sums the slots of each token: from (S, d) in sorted order to (N, d)."""
        return _Collect.apply(y, self)


class _Spread(torch.autograd.Function):
    """Copies tokens into slots. Its gradient is `_Collect`, which sums in a fixed order. Autograd's
    own gradient would be an atomic scatter on a GPU, whose sums vary from run to run."""

    @staticmethod
    def forward(ctx, x: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        return x.index_select(0, slots.order.remainder(slots.tokens))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Collect.apply(gradient, ctx.slots), None


class _Collect(torch.autograd.Function):
    """Sums the slots of each token; the transpose of `_Spread`."""

    @staticmethod
    def forward(ctx, y: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        y = y.index_select(0, slots.inverse)
        return y.view(slots.choices, slots.tokens, -1).sum(0)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Spread.apply(gradient, ctx.slots), None
