"""The mean cross-entropy of bfloat16 logits, computed a few rows at a time.

The logits of a language model are its largest tensor: tokens × vocabulary. torch's cross-entropy on
a CPU first makes float32 logits, then their log-softmax and both gradients, each of the same size.
Here the float32 values of a few rows at a time stay in the processor's cache.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOGITS_AT_ONCE = 2**19  # 2 MiB in float32


def mean_cross_entropy(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """Mean over the targets that are not `ignored` of −log softmax(logits)[target], in float32.

    logits: (N, V), targets: (N,) int64. If no target counts, the result is NaN, as that of torch.
    """
    by_rows = logits.device.type == "cpu" and logits.dtype == torch.bfloat16
    if by_rows and not torch.compiler.is_compiling():
        return _ByRows.apply(logits, targets, ignored)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, targets, ignore_index=ignored)


class _ByRows(torch.autograd.Function):
    """The gradient is (softmax − one-hot) / count, rounded to bfloat16 only at the end."""

    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
        counted = targets != ignored
        count = counted.sum()
        normaliser = torch.empty(len(logits))
        chosen = torch.empty(len(logits))
        places = targets.where(counted, 0).unsqueeze(1)
        for rows in _pieces(logits):
            wide = logits[rows].float()
            normaliser[rows] = wide.logsumexp(1)
            chosen[rows] = wide.gather(1, places[rows]).squeeze(1)
        ctx.save_for_backward(logits, places, counted, normaliser, count)
        return (normaliser - chosen).where(counted, 0).sum() / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        logits, places, counted, normaliser, count = ctx.saved_tensors
        factor = (gradient / count).where(counted, 0).unsqueeze(1)
        result = torch.empty_like(logits)
        for rows in _pieces(logits):
            slope = logits[rows].float().sub_(normaliser[rows].unsqueeze(1)).exp_()
            slope.scatter_add_(1, places[rows], slope.new_full((len(slope), 1), -1.0))
            result[rows] = slope.mul_(factor[rows])
        return result, None, None


def _pieces(logits: Tensor) -> list[slice]:
    rows = max(1, LOGITS_AT_ONCE // logits.size(1))
    return [slice(start, start + rows) for start in range(0, len(logits), rows)]
