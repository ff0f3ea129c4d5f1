"""Curvature of a loss on one fixed batch: sharpness, trace, spectral density, directions.

Every function takes a `HessianVectorProduct` of the snapshot; H is its Hessian, n × n. Estimates
that draw random vectors take a `torch.Generator`, so that a number is reproducible from its seed.
A model that has diverged (NaN or Inf in H) gives NaN, not an exception.
"""

import math
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from muonlab.measure.alignment import cosine
from muonlab.measure.hessian import HessianVectorProduct, dense_hessian, lanczos

BACKENDS = ("lanczos", "pyhessian")
DENSE_FALLBACK = 2000  # up to so many parameters, n products cost no more than the failed attempt


class TopEigenpairs(NamedTuple):
    """values (k,) descending, vectors (k, n) of unit length, residuals (k,) = ‖Hv − λv‖; float64.

    Some eigenvalue of H lies within `residuals[i]` of `values[i]` (Parlett 1998, thm 4.5.1).
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor


class TraceEstimate(NamedTuple):
    mean: float
    standard_error: float


class SpectralDensity(NamedTuple):
    """density (g,) at the points grid (g,), from nodes (M,) of weights (M,) that sum to 1."""

    grid: Tensor
    density: Tensor
    nodes: Tensor
    weights: Tensor


def top_eigenvalues(
    hvp: HessianVectorProduct,
    k: int = 1,
    backend: str = "lanczos",
    *,
    seed: int = 0,
    tol: float | None = None,
) -> TopEigenpairs:
    """The k top eigenvalues of H, descending; the first is the sharpness.

    backend "lanczos"    the largest *algebraic* eigenvalues: ARPACK's implicitly restarted Lanczos
                         (`scipy.sparse.linalg.eigsh`, which="LA") from a seeded start vector. `tol`
                         bounds the residual in units of the spectral radius; default 1e-12 in
                         float64, the dtype's ε otherwise. H is decomposed whole if its size is
                         within the Krylov dimension, max(2k + 1, 20), or if Lanczos does
                         not converge and n <= DENSE_FALLBACK.
    backend "pyhessian"  the k largest by *magnitude*, from PyHessian's deflated power iteration;
                         `tol` is its own (default 1e-3). `pyhessian_backend` says where it errs.

    Of a (nearly) multiple eigenvalue the vectors are some orthonormal basis of its eigenspace.
    Raises ValueError for k outside 1..n or an unknown backend, RuntimeError if Lanczos does not
    converge.
    """
    if not 1 <= k <= hvp.n:
        raise ValueError(f"top_eigenvalues: k must be in 1..{hvp.n}, not {k}")
    if backend == "lanczos":
        values, vectors = _lanczos_eigenpairs(hvp, k, seed, tol)
    elif backend == "pyhessian":
        from muonlab.measure.pyhessian_backend import power_iteration_eigenpairs

        tol = 1e-3 if tol is None else tol
        values, vectors = power_iteration_eigenpairs(hvp, k, seed=seed, tol=tol)
    else:
        raise ValueError(f"top_eigenvalues: backend must be one of {BACKENDS}, not {backend!r}")
    values, order = values.sort(descending=True)
    vectors = vectors[order]
    products = torch.stack([hvp(v) for v in vectors]).double()
    residuals = torch.linalg.vector_norm(products - values[:, None] * vectors, dim=1)
    return TopEigenpairs(values, vectors, residuals)


def _lanczos_eigenpairs(
    hvp: HessianVectorProduct, k: int, seed: int, tol: float | None
) -> tuple[Tensor, Tensor]:
    """Largest algebraic eigenpairs of H, in any order: (k,) and (k, n)."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    tol = max(1e-12, torch.finfo(hvp.gradient.dtype).eps) if tol is None else tol
    start = torch.randn(hvp.n, generator=Generator().manual_seed(seed), dtype=torch.float64)
    ritz = lanczos(hvp, start.to(hvp.gradient.device), steps=10)
    if ritz.isnan().any():
        return _constant_eigenpairs(hvp, k, math.nan)
    radius = float(torch.linalg.eigvalsh(ritz).abs().max())
    if radius == 0.0:
        return _constant_eigenpairs(hvp, k, 0.0)
    # ARPACK measures convergence in units of |λ|, which no rounding error can meet where the top
    # eigenvalue is tiny beside the others (a negative-definite H). Shifted to H + 2·radius·I, with
    # the same vectors, every λ + shift has the spectral radius' magnitude.
    shift = 2.0 * radius

    def shifted(v):  # numpy (n,) → numpy (n,)
        v = torch.as_tensor(v, dtype=torch.float64, device=hvp.gradient.device)
        return (hvp(v).double() + shift * v).cpu().numpy()

    operator = LinearOperator((hvp.n, hvp.n), matvec=shifted, dtype="float64")
    basis = max(2 * k + 1, 20)  # scipy's own default for the Krylov dimension
    for ncv, dense_up_to in ((basis, basis), (4 * basis, DENSE_FALLBACK)):
        if hvp.n <= dense_up_to:
            values, vectors = torch.linalg.eigh(dense_hessian(hvp))
            return values[-k:], vectors.T[-k:]
        with suppress(ArpackNoConvergence):  # clustered top eigenvalues need a larger Krylov space
            values, vectors = eigsh(
                operator, k, which="LA", v0=start.numpy(), ncv=ncv, maxiter=100, tol=tol, rng=seed
            )
            values = torch.as_tensor(values, device=hvp.gradient.device) - shift
            return values, torch.as_tensor(vectors.T.copy(), device=hvp.gradient.device)
    raise RuntimeError(
        f"top_eigenvalues: Lanczos did not converge to {k} eigenvalues with {ncv} vectors; "
        f"raise tol (now {tol:g})"
    )


def _constant_eigenpairs(hvp: HessianVectorProduct, k: int, value: float) -> tuple[Tensor, Tensor]:
    """Eigenpairs for H = 0 (any orthonormal vectors) or for H that is not finite (value NaN)."""
    vectors = torch.eye(k, hvp.n, dtype=torch.float64, device=hvp.gradient.device)
    return vectors.new_full((k,), value), vectors + 0.0 * value


def rademacher(hvp: HessianVectorProduct, generator: Generator) -> Tensor:
    """A vector (n,) of independent ±1, drawn on the generator's device, then moved to H's."""
    bits = torch.randint(0, 2, (hvp.n,), generator=generator, device=generator.device)
    return (2 * bits - 1).to(hvp.gradient)


def hutchinson_trace(
    hvp: HessianVectorProduct, samples: int = 100, generator: Generator | None = None
) -> TraceEstimate:
    """tr H = E[zᵀHz] over Rademacher z (Hutchinson 1990): mean and standard error over `samples`.

    The variance is 2·Σ_{i≠j} Hᵢⱼ², hence 0 for a diagonal H. `generator` defaults to seed 0. Raises
    ValueError for samples < 2, which leave the error inestimable.
    """
    if samples < 2:
        raise ValueError(f"hutchinson_trace: samples must be >= 2, not {samples}")
    generator = generator or Generator().manual_seed(0)
    draws = torch.empty(samples, dtype=torch.float64)
    for i in range(samples):
        z = rademacher(hvp, generator)
        draws[i] = (z.double() @ hvp(z).double()).cpu()
    return TraceEstimate(float(draws.mean()), float(draws.std() / math.sqrt(samples)))


def spectral_density(
    hvp: HessianVectorProduct,
    probes: int = 4,
    steps: int = 80,
    generator: Generator | None = None,
    grid: Tensor | None = None,
    width: float | None = None,
) -> SpectralDensity:
    """Density of H's eigenvalues by stochastic Lanczos quadrature (Ghorbani et al. 2019, §2).

    φ(t) = (1/probes) Σ_probes Σᵢ ωᵢ N(t; θᵢ, width²): θᵢ the Ritz values of `steps` Lanczos steps
    from a random ±1 vector, ωᵢ the squared first components of T's eigenvectors. It integrates to 1
    over the line. `width` defaults to 1 % of the nodes' range (of max(1, |θ|) if that is 0), `grid`
    to 1,024 points from 5 widths below the least node to 5 above the greatest. Memory steps × n.
    Raises ValueError for probes or steps < 1 or width <= 0.
    """
    if min(probes, steps) < 1 or (width is not None and width <= 0):
        raise ValueError(
            "spectral_density: probes and steps must be >= 1 and width > 0, "
            f"not {probes}, {steps} and {width}"
        )
    generator = generator or Generator().manual_seed(0)
    rules = [_gauss_rule(lanczos(hvp, rademacher(hvp, generator), steps)) for _ in range(probes)]
    nodes = torch.cat([theta for theta, _ in rules])
    weights = torch.cat([omega for _, omega in rules]) / probes
    low, high = float(nodes.min()), float(nodes.max())
    width = width or 0.01 * ((high - low) or max(1.0, abs(high)))
    if grid is None:
        grid = low - 5 * width + torch.linspace(0, 1, 1024).double() * (high - low + 10 * width)
    z = (grid.double()[:, None] - nodes) / width  # (g, M)
    density = torch.exp(-z.square() / 2) @ weights / (width * math.sqrt(2 * math.pi))
    return SpectralDensity(grid, density, nodes, weights)


def _gauss_rule(T: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (m,) and weights (m,) of the quadrature rule of T (Golub & Welsch 1969)."""
    if T.isnan().any():
        return T[0], torch.ones_like(T[0])
    nodes, vectors = torch.linalg.eigh(T)
    return nodes, vectors[0].square()


def directional_sharpness(hvp: HessianVectorProduct, u: Tensor) -> float:
    """uᵀHu / ‖u‖² along a direction u (n,), e.g. the run's last update; NaN for u = 0."""
    u = u.double().to(hvp.gradient.device)
    u = u / torch.linalg.vector_norm(u)  # first, so that the square of a tiny u cannot underflow
    return float(u @ hvp(u).double())


def gradient_hessian_cosine(hvp: HessianVectorProduct, eigenvector: Tensor) -> float:
    """|cos| of the gradient and an eigenvector (n,) of H, both at this snapshot; NaN if one is 0.

    The absolute value is taken because an eigenvector's sign is arbitrary, so that signed values
    would average to 0.
    """
    return abs(float(cosine(hvp.gradient, eigenvector.to(hvp.gradient.device))))


def update_gradient_cosine(update: Tensor, gradient: Tensor) -> float:
    """cos of the update ΔW (not −ΔW) and the gradient it was computed from; < 0 in descent."""
    return float(cosine(update, gradient))
