"""Singular-value spectra of weight matrices, and the scalar metrics computed from them.

Notation: σ₁ ≥ … ≥ σ_r are the singular values of W (m × n), r = min(m, n). Everything is computed
in float64 on the tensor's own device. `W` may be a stack (..., m, n); each result is then (...).

Each kind of degenerate input has a rule, so that a dead or diverged layer gives a record instead of
an error:

* NaN or Inf anywhere in a matrix: every metric of that matrix is NaN.
* Zero matrix: the normalised quantities p = σ²/Σσ², q = σ/Σσ and Ŵ = W/σ₁ are taken as 0, hence
  norms, ranks, entropy and top-k energy are 0 and the orthogonality error is 1; the condition
  number is inf (σ_r = 0) and the spectral gap NaN (0/0).
* Rank-deficient matrix: σᵢ ≤ max(m, n)·ε·σ₁ is the decomposition's own rounding error (the rank
  criterion of LAPACK and numpy.linalg.matrix_rank) and is set to exactly 0.
* r = 1: there is no σ₂, so the gap is inf; the normalised entropy is NaN, because the uniform and
  the concentrated spectrum coincide and any number would bias an average over layers.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

MIN_EIGENVALUES = 50  # fewer tail points than this do not identify a power law
_TIE = 1e-12  # eigenvalues whose logarithms differ by less are one value plus rounding error

Label = tuple[str, int | None]  # (tensor's name, expert's index in a stack or None)


class PowerLaw(NamedTuple):
    """p(x) ∝ x^(−alpha) for x ≥ x_min; `ks` is its Kolmogorov–Smirnov distance to the tail."""

    alpha: float
    x_min: float
    ks: float


@torch.no_grad()
def singular_values(W: Tensor) -> Tensor:
    """Singular values of W (..., m, n) as float64 (..., r), descending; NaN for non-finite W.

    Raises ValueError unless W is a floating-point matrix, or a stack of them, with m, n >= 1.
    """
    W, finite = finite_float64(W)
    sigma = torch.linalg.svdvals(W)
    sigma = sigma.masked_fill(sigma <= rounding_error(sigma, W.shape), 0.0)
    return sigma.masked_fill(~finite[..., None], math.nan)


def finite_float64(W: Tensor) -> tuple[Tensor, Tensor]:
    """W (..., m, n) in float64 with non-finite matrices zeroed, and the mask (...) of the others.

    Raises ValueError unless W is a floating-point matrix, or a stack of them, with m, n >= 1.
    """
    if W.ndim < 2 or not W.is_floating_point() or 0 in W.shape[-2:]:
        raise ValueError(
            "W must be a floating-point tensor (..., m, n) with m, n >= 1, "
            f"not {tuple(W.shape)} of {W.dtype}"
        )
    finite = W.isfinite().all(dim=-1).all(dim=-1)
    return W.double().masked_fill(~finite[..., None, None], 0.0), finite


def rounding_error(sigma: Tensor, shape: torch.Size) -> Tensor:
    """max(m, n)·ε·σ₁ (..., 1): singular values (..., r) up to this are rounding error."""
    return max(shape[-2:]) * torch.finfo(torch.float64).eps * sigma[..., :1]


def spectral_metrics(W: Tensor, top_k: int = 10) -> dict[str, Tensor]:
    """All scalar metrics of W (..., m, n), each a float64 tensor (...); see `spectrum_metrics`."""
    return spectrum_metrics(singular_values(W), top_k)


def spectrum_metrics(sigma: Tensor, top_k: int = 10, tail: bool = True) -> dict[str, Tensor]:
    """All scalar metrics of the spectra `sigma` (..., r), descending, as `singular_values` gives.

    spectral_norm        σ₁
    spectral_gap         σ₁ / σ₂
    frobenius_norm       (Σσ²)^½
    condition_number     σ₁ / σ_r
    stable_rank          Σσ² / σ₁²                             Rudelson & Vershynin 2007
    spectral_entropy     −Σ p ln p / ln r, p = σ²/Σσ², in [0, 1]
    effective_rank       exp(−Σ q ln q), q = σ/Σσ, in [1, r]   Roy & Vetterli 2007
    top_k_energy         Σ_{i ≤ k} σ² / Σσ², k clipped to r
    orthogonality_error  ‖ŴᵀŴ − I‖_F / √r, Ŵ = W/σ₁, Gram matrix over the short side
    alpha, alpha_ks      power-law exponent of the tail of σ², its KS distance: `power_law_tail`;
                         left out without `tail`, since they take longer than all others together

    Raises ValueError if top_k < 1.
    """
    if top_k < 1:
        raise ValueError(f"spectrum_metrics: top_k must be >= 1, not {top_k}")
    top, last, r = sigma[..., 0], sigma[..., -1], sigma.shape[-1]
    second = sigma[..., 1] if r > 1 else torch.zeros_like(top)
    # Every formula below is in σ/σ₁: neither squares nor sums can then overflow or underflow.
    relative = _divide_or_zero(sigma, top[..., None])
    energy = relative.square()
    p = _divide_or_zero(energy, energy.sum(-1, keepdim=True))
    q = _divide_or_zero(relative, relative.sum(-1, keepdim=True))
    found = {
        "spectral_norm": top,
        "spectral_gap": top / second,
        "frobenius_norm": top * energy.sum(-1).sqrt(),
        "condition_number": torch.where(last == 0, math.inf, top / last),
        "stable_rank": energy.sum(-1),
        "spectral_entropy": _entropy(p) / math.log(r),  # 0/0 = NaN where r = 1
        "effective_rank": _entropy(q).exp().masked_fill(top == 0, 0.0),
        "top_k_energy": p[..., :top_k].sum(-1),
        "orthogonality_error": (energy - 1).square().mean(-1).sqrt(),
    }
    if tail:
        found["alpha"], found["alpha_ks"] = _tail_exponents(energy)
    return found


def _divide_or_zero(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0 (the zero matrix)."""
    return (numerator / denominator).masked_fill(denominator == 0, 0.0)


def _entropy(p: Tensor) -> Tensor:
    """Shannon entropy −Σ p ln p in nats over the last dimension, with 0 ln 0 = 0."""
    return torch.special.entr(p).sum(-1)


def _tail_exponents(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    """`power_law_tail` of each row of (..., r): alpha and KS distance, each (...)."""
    if eigenvalues.shape[-1] < MIN_EIGENVALUES:  # no row can have a fit
        nothing = torch.full_like(eigenvalues[..., 0], math.nan)
        return nothing, nothing
    fits = [power_law_tail(row) for row in eigenvalues.reshape(-1, eigenvalues.shape[-1])]
    shape = eigenvalues.shape[:-1]
    alpha = eigenvalues.new_tensor([fit.alpha for fit in fits]).reshape(shape)
    return alpha, eigenvalues.new_tensor([fit.ks for fit in fits]).reshape(shape)


@torch.no_grad()
def power_law_tail(eigenvalues: Tensor) -> PowerLaw:
    """Continuous power law fitted to the upper tail of `eigenvalues` (n,), scale-invariant.

    Clauset, Shalizi & Newman 2009 (SIAM Review 51): for each candidate x_min among the distinct
    values the exponent is the maximum-likelihood one (eq. 3.1),
    alpha = 1 + n_tail / Σ ln(xᵢ/x_min), and the x_min kept is the one of least Kolmogorov–Smirnov
    distance D = sup |S(x) − P(x)|, P(x) = 1 − (x/x_min)^(1−alpha) (eq. 3.9), the supremum taken on
    both sides of each step of the empirical distribution S. Zeros lie outside a power law's support
    and are left out. All fields are NaN for fewer than `MIN_EIGENVALUES` positive values, for NaN
    input, or if all values are equal. Memory O(n²).

    The heavy-tail exponent of a weight spectrum is a contested measure. Report it as a secondary
    result, together with D.
    """
    x = eigenvalues[eigenvalues > 0].sort().values  # ascending; NaN compares false
    n = x.numel() if not eigenvalues.isnan().any() else 0
    if n < MIN_EIGENVALUES or (log_x := x.double().log())[-1] - log_x[0] <= _TIE:
        return PowerLaw(math.nan, math.nan, math.nan)
    rank = torch.arange(n, device=x.device)
    n_tail = n - rank  # of the tail that starts at x_i
    mean_log_ratio = log_x.flip(0).cumsum(0).flip(0) / n_tail - log_x  # 1 / (alpha_i − 1)
    first_of_ties = torch.cat([rank[:1] == 0, log_x.diff() > _TIE])
    candidate = first_of_ties & (log_x[-1] - log_x > _TIE)
    # [i, j]: the fit that starts at x_i, read at x_j ≥ x_i
    model = -torch.expm1(-(log_x - log_x[:, None]) / mean_log_ratio[:, None])
    below = (rank - rank[:, None]) / n_tail[:, None].double()  # S just below x_j
    above = below + 1 / n_tail[:, None].double()  # S at x_j
    distance = torch.maximum((model - below).abs(), (model - above).abs())
    ks = distance.masked_fill(rank < rank[:, None], 0.0).amax(dim=1)
    best = int(ks.masked_fill(~candidate, math.inf).argmin())
    return PowerLaw(1 + 1 / float(mean_log_ratio[best]), float(x[best]), float(ks[best]))


def batched_by_shape(
    tensors: Mapping[str, Tensor], max_elements: int = 2**26
) -> Iterator[tuple[list[Label], Tensor]]:
    """Yield (labels, stack (b, m, n)): the matrices of equal shape, dtype and device together.

    A 3-D tensor (experts, m, n) counts as its experts' matrices, labelled (name, expert); a matrix
    is labelled (name, None). A stack holds at most `max_elements` numbers (but at least one
    matrix), which bounds the memory of one decomposition. Raises ValueError for any other rank.
    """
    groups: dict[tuple, list[tuple[Label, Tensor]]] = defaultdict(list)
    for name, tensor in tensors.items():
        for label, matrix in _matrices(name, tensor):
            groups[tuple(matrix.shape), matrix.dtype, matrix.device].append((label, matrix))
    for (shape, _, _), members in groups.items():
        step = max(1, max_elements // max(1, math.prod(shape)))
        for start in range(0, len(members), step):
            labels, matrices = zip(*members[start : start + step], strict=True)
            yield list(labels), torch.stack(matrices)


def _matrices(name: str, tensor: Tensor) -> list[tuple[Label, Tensor]]:
    if tensor.ndim == 2:
        return [((name, None), tensor.detach())]
    if tensor.ndim == 3:
        return [((name, expert), matrix) for expert, matrix in enumerate(tensor.detach())]
    raise ValueError(
        f"{name!r} must be a matrix (out, in) or a stack (experts, out, in), "
        f"not of shape {tuple(tensor.shape)}"
    )


def spectral_records(
    tensors: Mapping[str, Tensor], top_k: int = 10, whole_spectrum: bool = False
) -> list[dict]:
    """Long-form records {tensor, expert, metric, value} of every metric of every matrix.

    With `whole_spectrum` also one record per singular value, metric "singular_values" and a fifth
    key `index` (0 = the largest). Matrices come grouped by shape, each group in the given order.
    """
    records = []
    for labels, stack in batched_by_shape(tensors):
        sigma = singular_values(stack)
        metrics = spectrum_metrics(sigma, top_k)
        table = torch.stack(list(metrics.values()), dim=1).tolist()  # one transfer per stack
        for (tensor, expert), row in zip(labels, table, strict=True):
            where = {"tensor": tensor, "expert": expert}
            records += [
                {**where, "metric": metric, "value": value}
                for metric, value in zip(metrics, row, strict=True)
            ]
        if whole_spectrum:
            records += _spectrum_records(labels, sigma)
    return records


def _spectrum_records(labels: list[Label], sigma: Tensor) -> list[dict]:
    return [
        {"tensor": name, "expert": expert, "metric": "singular_values", "value": v, "index": i}
        for (name, expert), row in zip(labels, sigma.tolist(), strict=True)
        for i, v in enumerate(row)
    ]
