"""Where attention looks: the probabilities of a causal attention, their entropy and their reach.

Shapes: b sequences, h query heads, g key heads (g divides h), t positions, d features of a head.
"""

import math

import torch
from torch import Tensor


def attention_probabilities(query: Tensor, key: Tensor, visible: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) over the keys that each query may see: (b, h, t, t) in the inputs' dtype.

    query: (b, h, t, d), key: (b, g, t, d). `visible` (b, 1, t, t) bool says which keys a query may
    see; None: all up to its own position.
    """
    key = key.repeat_interleave(query.size(1) // key.size(1), 1)
    logits = query @ key.mT / math.sqrt(query.size(-1))
    if visible is None:
        t = query.size(-2)
        visible = torch.ones(t, t, dtype=torch.bool, device=query.device).tril()
    return logits.masked_fill(~visible, -math.inf).softmax(-1)


def entropy(p: Tensor) -> Tensor:
    """−Σ p ln p over the last axis, in nats."""
    return torch.special.entr(p).sum(-1)


def mean_distance(p: Tensor) -> Tensor:
    """Σ_j p_ij (i − j) for p (…, t, t): how far back query i looks on average, in tokens (…, t).

    Attention that is uniform over the i + 1 visible keys has i / 2.
    """
    t = p.size(-1)
    positions = torch.arange(t, dtype=p.dtype, device=p.device)
    return (p * (positions[:, None] - positions)).sum(-1)


def relative_entropy(p: Tensor) -> Tensor:
    """`entropy` of p (…, t, t) over that of uniform attention, ln(i + 1); (…, t), 1 is uniform.

    NaN for the first position, whose only key has probability 1.
    """
    t = p.size(-1)
    whole = torch.arange(1, t + 1, dtype=p.dtype, device=p.device).log()
    return torch.where(whole > 0, entropy(p) / whole, torch.nan)


def coarse_map(p: Tensor, size: int) -> Tensor:
    """p (t, t) in at most `size` rows and columns: the mean over queries of the probability that
    goes to each block of keys. Rows of complete blocks still add up to 1."""
    t = p.size(-1)
    block = math.ceil(t / size)
    groups = torch.arange(t, device=p.device) // block
    member = torch.nn.functional.one_hot(groups).to(p.dtype)  # (t, blocks)
    summed = member.T @ p @ member
    return summed / member.sum(0)[:, None]
