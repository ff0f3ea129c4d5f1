"""Products of token groups with their own matrix each, and the move of tokens into such groups.

Shapes: N tokens, S = N · k routed slots, E groups, slots ordered by group.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """y[s] = weight[e] · x[s] for the group e that slot s lies in; differentiable twice.

    x: (S, in), ordered by group; weight: (E, out, in); ends: (E,) int32, where each group ends
    (the last one is S; a group may be empty). Returns (S, out).

    One grouped product where torch has a kernel for these dtypes and shapes: on a CUDA device it
    needs no transfer to the host. Elsewhere one product for each group.
    """
    if has_grouped_kernel(x, weight):
        return F.grouped_mm(x, weight.mT, offs=ends)
    sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
    pieces = zip(x.split(sizes), weight.unbind(), strict=True)
    return torch.cat([F.linear(piece, matrix) for piece, matrix in pieces])


def has_grouped_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product takes these: rows of whole 16 bytes, bfloat16 on the CPU and
    from CUDA capability 8.0 on, float32 on the CPU where nothing is compiled, torch ≥ 2.10."""
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
    """Where each routed slot goes: the order that sorts the slots by expert, and its inverse.

    Slots are numbered choice by choice (slot j · N + n is token n's choice j) and sorted stably, so
    within an expert first choices come before second ones and tokens keep their order.
    """

    def __init__(self, chosen: Tensor, experts: int):
        """chosen: (N, k) int64, each token's experts, the best first."""
        self.tokens, self.choices = chosen.shape
        self.expert, self.order = chosen.T.reshape(-1).sort(stable=True)
        slots = torch.arange(self.order.numel(), device=chosen.device)
        self.inverse = torch.empty_like(self.order).scatter_(0, self.order, slots)
        borders = torch.arange(experts + 1, device=chosen.device)
        self.starts = torch.searchsorted(self.expert, borders, out_int32=True)  # (E + 1,)
        self.ends = self.starts[1:]
        self.counts = self.ends - self.starts[:-1]  # (E,) int32

    def rank(self) -> Tensor:
        """(S,) each slot's place in its expert's queue, from 0, in sorted order."""
        slots = torch.arange(self.order.numel(), device=self.order.device)
        return slots - self.starts[self.expert]

    def spread(self, x: Tensor) -> Tensor:
        """(N, d) per token to (S, d) per slot in sorted order."""
        return _Spread.apply(x, self)

    def collect(self, y: Tensor) -> Tensor:
        """(S, d) per slot in sorted order to (N, d): the sum over each token's slots."""
        return _Collect.apply(y, self)


class _Spread(torch.autograd.Function):
    """The copy of tokens into slots. Its gradient is `_Collect`, a gather and a sum in a fixed
    order: autograd's own would be an atomic scatter on a GPU, whose sums vary from run to run."""

    @staticmethod
    def forward(ctx, x: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        return x.index_select(0, slots.order.remainder(slots.tokens))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Collect.apply(gradient, ctx.slots), None


class _Collect(torch.autograd.Function):
    """The sum of slots into tokens, the transpose of `_Spread`."""

    @staticmethod
    def forward(ctx, y: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        y = y.index_select(0, slots.inverse)
        return y.view(slots.choices, slots.tokens, -1).sum(0)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Spread.apply(gradient, ctx.slots), None
