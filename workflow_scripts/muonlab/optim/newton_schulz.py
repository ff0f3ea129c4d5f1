"""Newton–Schulz iteration towards the polar factor UVᵀ of a matrix G = UΣVᵀ."""

import torch
from torch import Tensor

from muonlab.optim.coefficients import Triple, schedule, triples

SMALLEST_NORM = 1e-7


def newton_schulz(
    G: Tensor,
    coefficients: str | list[Triple] = "jordan",
    steps: int = 5,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Approximate polar factor of each matrix of G.

    G: (..., m, n), floating point; each matrix of a stack is treated on its own. `coefficients`
    names a schedule of `coefficients.SCHEDULES`, gives explicit triples, or is "exact" (singular
    value decomposition in float64, the reference). `dtype` is that of the matrix products; None
    takes bfloat16 on a GPU and float32 on a CPU (float64 stays float64), because bf16 products on
    most CPUs are far slower. Returns a new tensor of G's shape and dtype; a zero matrix gives zero.

    Raises ValueError for fewer than two dimensions, a dtype that is not floating point, or steps
    under 1. Source: K. Jordan, Muon (2024), with the schedules named in `coefficients`.
    """
    if G.ndim < 2 or not G.is_floating_point():
        raise ValueError(
            f"newton_schulz takes floating-point matrices (..., m, n), "
            f"not a {G.dtype} tensor of shape {tuple(G.shape)}"
        )
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, not {steps}")
    if coefficients == "exact":
        return exact_polar_factor(G)
    plan = schedule(coefficients)
    tall = G.size(-2) > G.size(-1)
    X = G.mT if tall else G
    working = dtype or default_dtype(G)
    # The norm is taken before the cast, so that no bf16 rounding moves the starting point.
    scale = _norm(X.to(torch.promote_types(G.dtype, torch.float32))) * plan.norm_factor
    X = (X / scale).to(working)
    for a, b, c in triples(coefficients, steps):
        if plan.renormalise:
            X = X / _norm(X)
        A = X @ X.mT
        B = torch.baddbmm(A, A, A, beta=b, alpha=c) if A.ndim == 3 else b * A + c * (A @ A)
        X = a * X + B @ X
    return (X.mT if tall else X).to(G.dtype)


def default_dtype(G: Tensor) -> torch.dtype:
    """The dtype of the products where none is asked for."""
    if G.dtype == torch.float64:
        return torch.float64
    return torch.bfloat16 if G.is_cuda else torch.float32


def exact_polar_factor(G: Tensor) -> Tensor:
    """UVᵀ over the singular values that are not zero to float64 rounding; (..., m, n) as G."""
    U, S, Vh = torch.linalg.svd(G.double(), full_matrices=False)
    tolerance = S[..., :1] * max(G.shape[-2:]) * torch.finfo(torch.float64).eps
    kept = S.gt(tolerance).to(torch.float64)
    return ((U * kept.unsqueeze(-2)) @ Vh).to(G.dtype)


def _norm(X: Tensor) -> Tensor:
    """Frobenius norm of each matrix, (..., 1, 1), clamped so that a zero matrix stays zero."""
    return torch.linalg.matrix_norm(X, keepdim=True).clamp_min(SMALLEST_NORM)
