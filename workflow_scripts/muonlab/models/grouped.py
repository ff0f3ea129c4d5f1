"""Sorts tokens into groups, and multiplies each group by a matrix of its own.

Shapes: N tokens, S = N · k routed slots, E groups, R ≥ S rows ordered by group: the slots, and the
padding after each group. Without padding R = S.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """y[s] = weight[e] · x[s] for the group e that contains row s; can be differentiated twice.

    x: (R, in), ordered by group; weight: (E, out, in); ends: (E,) int32, where each group ends
    (the last one is R; a group may be empty). Returns (R, out).

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


def row_multiple(device: str, dtype: torch.dtype) -> int:
    """The multiple to which groups of rows are padded.

    In bfloat16 on a CPU, oneDNN compiles a kernel for each new number of rows, which takes longer
    than the product. Routed groups have another size at every step; with padding, few sizes occur.
    A compiled model is not padded, because its shapes may not depend on the data.
    """
    padded = device == "cpu" and dtype == torch.bfloat16 and not torch.compiler.is_compiling()
    return 64 if padded else 1


class Slots:
    """The order that sorts the routed slots by expert, and its inverse.

    Slots are numbered choice by choice (slot j · N + n is choice j of token n) and sorted stably.
    Within an expert, first choices thus come before second choices, and tokens keep their order.
    The rows of each expert are padded to a multiple. Padding holds copies of the first token, which
    `collect` leaves out; each row's factor must come from `factors`, which is zero for padding.
    """

    def __init__(self, chosen: Tensor, experts: int, multiple: int = 1):
        """chosen: (N, k) int64, the experts of each token, the best one first."""
        self.tokens, self.choices = chosen.shape
        self.expert, self.order = chosen.T.reshape(-1).sort(stable=True)  # (S,) both
        borders = torch.arange(experts + 1, device=chosen.device)
        self.starts = torch.searchsorted(self.expert, borders, out_int32=True)  # (E + 1,)
        self.ends = self.starts[1:]  # (E,) where the rows of each expert end
        self.counts = self.ends - self.starts[:-1]  # (E,) int32
        rows = torch.arange(self.order.numel(), device=chosen.device)
        self.slot_of_row = self.order  # (R,)
        self.rows: Tensor | None = None  # (S,) the row of each sorted slot, if there is padding
        if multiple > 1:
            self.rows = rows = self._pad(rows, multiple)
        self.row_of_slot = torch.empty_like(self.order).scatter_(0, self.order, rows)

    def _pad(self, rows: Tensor, multiple: int) -> Tensor:
        """Moves the groups apart, so that each begins at a multiple; returns the rows of slots."""
        sizes = (self.counts + multiple - 1) // multiple * multiple
        self.ends = sizes.cumsum(0, dtype=torch.int32)
        shift = (self.ends - sizes - self.starts[:-1]).to(rows.dtype)
        rows = rows + shift[self.expert]
        self.slot_of_row = self.order.new_zeros(int(self.ends[-1])).scatter_(0, rows, self.order)
        return rows

    def rank(self) -> Tensor:
        """(S,) The position of each slot among those of its expert, from 0, in sorted order."""
        slots = torch.arange(self.order.numel(), device=self.order.device)
        return slots - self.starts[self.expert]

    def factors(self, sorted_slots: Tensor) -> Tensor:
        """From a factor of each sorted slot (S,) to one of each row (R,), zero for padding."""
        if self.rows is None:
            return sorted_slots
        zeros = sorted_slots.new_zeros(self.slot_of_row.numel())
        return zeros.index_copy(0, self.rows, sorted_slots)

    def spread(self, x: Tensor) -> Tensor:
        """Copies tokens (N, d) to rows (R, d)."""
        return _Spread.apply(x, self)

    def collect(self, y: Tensor) -> Tensor:
        """Sums the slots of each token: from rows (R, d) to (N, d)."""
        return _Collect.apply(y, self)


class _Spread(torch.autograd.Function):
    """Copies tokens into rows. Its gradient is `_Collect`, which sums in a fixed order. Autograd's
    own gradient would be an atomic scatter on a GPU, whose sums vary from run to run."""

    @staticmethod
    def forward(ctx, x: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        return x.index_select(0, slots.slot_of_row.remainder(slots.tokens))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Collect.apply(gradient, ctx.slots), None


class _Collect(torch.autograd.Function):
    """Sums the slots of each token. Its gradient is `_Spread`; what that gives to padding is
    multiplied by the factor zero."""

    @staticmethod
    def forward(ctx, y: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        y = y.index_select(0, slots.row_of_slot)
        return y.view(slots.choices, slots.tokens, -1).sum(0)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Spread.apply(gradient, ctx.slots), None
