"""AdamW is torch's own (Loshchilov and Hutter, arXiv 1711.05101); here only its groups are made."""

import torch
from torch import nn

DEFAULTS = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def make(
    named: list[tuple[str, nn.Parameter]], lr: float, betas, eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """torch's AdamW, fused; vectors and scalars are not decayed."""
    return torch.optim.AdamW(
        decay_groups(named, weight_decay), lr=lr, betas=tuple(betas), eps=eps, fused=True
    )


def decay_groups(named: list[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict]:
    """Matrices with weight decay, tensors of one dimension without."""
    decayed = [p for _, p in named if p.ndim >= 2]
    others = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": decayed, "name": "matrices", "weight_decay": weight_decay},
        {"params": others, "name": "vectors", "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]
