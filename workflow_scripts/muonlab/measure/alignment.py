"""Directions of updates: subspace alignment, its value for unrelated matrices, and update sizes.

A principal angle θᵢ between two k-dimensional subspaces has cos θᵢ = σᵢ(Q_Aᵀ Q_B) for orthonormal
bases Q_A, Q_B (Björck & Golub 1973, eq. 13). The alignment of two matrices is the mean of these
cosines over the spans of their top-k left (and right) singular vectors. It is 1 for equal spans.
For unrelated matrices it is not 0 but `nulls.null_alignment`, which depends on the dimension;
report both.
"""

import math

import torch
from torch import Tensor

from muonlab.measure.singular_values import finite_float64, rounding_error, spectral_metrics


def top_subspaces(W: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Float64 bases of the top-k singular subspaces of W (..., m, n): (..., m, k), (..., n, k).

    k is clipped to min(m, n). NaN for a matrix that is not finite or whose rank is below k, since
    its k-th singular direction does not exist. (With σ_k = σ_{k+1} the subspace is not unique
    either; the result is then the decomposition's choice.) Raises ValueError if W is no matrix or
    k < 1.
    """
    _, U, V = singular_system(W, k)
    return U, V


@torch.no_grad()
def singular_system(W: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """`spectra.singular_values` and `top_subspaces` of W (..., m, n) by one decomposition.

    (σ (..., r), U (..., m, k), V (..., n, k)). An oblong matrix is first reduced to its square
    triangular factor (Chan 1982, ACM TOMS 8(1)), several times faster and as stable.
    """
    if k < 1:
        raise ValueError(f"top_subspaces: k must be >= 1, not {k}")
    W, finite = finite_float64(W)  # a non-finite matrix becomes one of rank 0
    k = min(k, *W.shape[-2:])
    U, sigma, V = _svd(W) if W.shape[-2] >= W.shape[-1] else _svd(W.mT)[::-1]
    sigma = sigma.masked_fill(sigma <= rounding_error(sigma, W.shape), 0.0)
    undefined = (sigma == 0)[..., k - 1, None, None]
    U, V = U[..., :k].masked_fill(undefined, math.nan), V[..., :k].masked_fill(undefined, math.nan)
    return sigma.masked_fill(~finite[..., None], math.nan), U, V


def _svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., m, r), σ (..., r), V (..., n, r) of W with m ≥ n."""
    if W.shape[-2] < 2 * W.shape[-1]:
        U, sigma, Vh = torch.linalg.svd(W, full_matrices=False)
        return U, sigma, Vh.mT
    Q, R = torch.linalg.qr(W)
    U, sigma, Vh = torch.linalg.svd(R)
    return Q @ U, sigma, Vh.mT


def mean_principal_cosine(Q_a: Tensor, Q_b: Tensor) -> Tensor:
    """Mean cosine (...) of the principal angles between the spans of orthonormal (..., d, k)."""
    return mean_cosine(Q_a.mT @ Q_b)


def mean_cosine(overlap: Tensor) -> Tensor:
    """`mean_principal_cosine` (...) from Q_aᵀQ_b (..., k, k): one call can serve many pairs."""
    defined = overlap.isfinite().all(dim=-1).all(dim=-1)
    cosines = torch.linalg.svdvals(overlap.masked_fill(~defined[..., None, None], 0.0))
    return cosines.clamp(max=1.0).mean(-1).masked_fill(~defined, math.nan)


def subspace_alignment(A: Tensor, B: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """(left, right) mean cosine of the principal angles between the top-k subspaces of A and B.

    A and B are (..., m, n) of one shape, the results (...) in float64. k is clipped to min(m, n);
    NaN where a subspace is undefined (see `top_subspaces`; use that function to decompose W once
    and compare it with several others). Raises ValueError for unequal shapes or k < 1.
    """
    if A.shape != B.shape:
        raise ValueError(
            f"subspace_alignment: A and B must have one shape, not {tuple(A.shape)} and "
            f"{tuple(B.shape)}"
        )
    (U_a, V_a), (U_b, V_b) = top_subspaces(A, k), top_subspaces(B, k)
    return mean_principal_cosine(U_a, U_b), mean_principal_cosine(V_a, V_b)


@torch.no_grad()
def update_metrics(W_before: Tensor, W_after: Tensor, top_k: int = 10) -> dict[str, Tensor]:
    """Metrics of the update ΔW = W_after − W_before, for (..., m, n); each float64 (...).

    update_rms = ‖ΔW‖_F / √(mn), relative_update = ‖ΔW‖_F / ‖W_before‖_F (inf from zero weights, NaN
    if both are zero), and every metric of `spectral_metrics(ΔW)` under its name with the prefix
    "update_". The difference is taken in float64. Raises ValueError for unequal shapes.
    """
    if W_before.shape != W_after.shape:
        raise ValueError(
            f"update_metrics: W_before and W_after must have one shape, not "
            f"{tuple(W_before.shape)} and {tuple(W_after.shape)}"
        )
    before = W_before.double()
    delta = W_after.double() - before
    norm = torch.linalg.matrix_norm(delta)
    return {
        "update_rms": norm / math.sqrt(math.prod(delta.shape[-2:])),
        "relative_update": norm / torch.linalg.matrix_norm(before),
        **{f"update_{name}": value for name, value in spectral_metrics(delta, top_k).items()},
    }


@torch.no_grad()
def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two tensors, flattened, in float64; NaN if either is zero.

    Raises ValueError if they differ in their number of elements.
    """
    if a.numel() != b.numel():
        raise ValueError(f"cosine: a and b must be of one size, not {a.numel()} and {b.numel()}")
    a, b = a.double().flatten(), b.double().flatten()
    # The vectors are normalised first, so that products of tiny values cannot underflow.
    return ((a / torch.linalg.vector_norm(a)) @ (b / torch.linalg.vector_norm(b))).clamp(-1.0, 1.0)
