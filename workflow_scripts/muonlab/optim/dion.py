"""Dion: distributed orthonormalized updates of low rank, from one step of power iteration.

Ahn, Xu, Abreu, Fan, Magakyan, Sharma, Zhu and Langford, Dion (arXiv 2504.05295): B = M + G;
P = orthonormal basis of BQ; R = BᵀP; error feedback M ← B − (1 − μ)·PRᵀ; Q ← R with its columns
normalised; W ← (1 − lr·wd)·W − lr·s·PQᵀ. Only the r directions that were applied are removed from
the momentum; the rest is kept for later updates.
"""

from typing import Annotated

import torch
from torch import Tensor

from muonlab.optim.hyperparameters import Beta, NotNegative, Range, Scale, optimizer
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.scale import fix_rms, update_scale

SMALLEST = 1e-8


@optimizer
class Dion(MatrixOptimizer):
    """Dion for matrices (out, in) and stacks of them; state: momentum and right basis (in, r).

    r is `rank_fraction` of the shorter side, at least 1.
    """

    HALF_WEIGHTS = False

    weight_decay: NotNegative = 0.1
    """Decoupled weight decay."""
    momentum: Beta = 0.95
    """Decay of the error feedback."""
    rank_fraction: Annotated[float, Range(gt=0, le=1)] = 0.25
    """Rank of the update, as a fraction of the shorter side."""
    scale: Scale = "match_rms_adamw"
    """Factor on the step, as Muon's."""

    def update(self, p: Tensor, group: dict) -> None:
        state, lr = self.state[p], float(group["lr"])
        if not state:
            state["momentum"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
            state["basis"] = first_basis(p, group["rank_fraction"])
        update = dion_update(p.grad, state["momentum"], state["basis"], group["momentum"])
        if group["scale"] == "fixed_rms":
            fix_rms(update)
        p.mul_(1 - lr * group["weight_decay"])
        step_size = lr * update_scale(p.size(-2), p.size(-1), group["scale"])
        p.add_(update, alpha=-step_size)


def dion_update(grad: Tensor, momentum: Tensor, basis: Tensor, mu: float) -> Tensor:
    """PQᵀ (…, m, n) of rank r; `momentum` (…, m, n) and `basis` (…, n, r) are updated in place."""
    momentum.add_(grad)
    P = torch.linalg.qr(momentum @ basis).Q
    R = momentum.mT @ P
    momentum.sub_(P @ R.mT, alpha=1 - mu)
    lengths = torch.linalg.vector_norm(R, dim=-2, keepdim=True)
    # A direction without any gradient keeps its old column for the next step and adds no update.
    basis.copy_(torch.where(lengths > SMALLEST, R / lengths.clamp_min(SMALLEST), basis))
    return P @ torch.where(lengths > SMALLEST, basis, torch.zeros_like(basis)).mT


def first_basis(p: Tensor, rank_fraction: float) -> Tensor:
    """A fixed pseudo-random orthonormal (…, n, r) that depends on the shape and on no seed."""
    rank = max(1, round(rank_fraction * min(p.shape[-2:])))
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(p.size(-1), rank, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(basis).Q.to(p.dtype).to(p.device)
    return basis.expand(*p.shape[:-2], -1, -1).clone()
