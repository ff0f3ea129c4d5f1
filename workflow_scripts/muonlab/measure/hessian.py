"""Hessian-vector products of a loss on one fixed batch, and two results computed from them: the
dense Hessian (small models) and the Lanczos tridiagonalisation (any model).

Vectors are flat: the parameters, each flattened, one after the other, n numbers in all.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

LossFn = Callable[[], Tensor]


def flat_vector(tensors: Iterable[Tensor]) -> Tensor:
    """One detached vector (n,) of the tensors, in their order: the layout of all vectors here."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


class HessianVectorProduct:
    """v ↦ Hv, H = ∇²L at the parameters' present values, exact to rounding (Pearlmutter 1994).

    The gradient is differentiated again: its graph is built once, with `create_graph=True`, and
    every product is one more backward pass through it. The graph is kept as long as this object.
    Make one object per snapshot and drop it after use, so that memory does not grow with their
    number.

    loss_fn()  the scalar loss on one fixed batch, deterministic (evaluation mode, no dropout), of
               operations with a double backward: fused attention kernels have none.
    params     the tensors to differentiate by; one the loss does not use has zero rows in H.

    Attributes: `gradient` (n,) detached, `loss` float, `n`, `loss_fn`, `params`. No `.grad` is read
    or written. Raises ValueError for a loss that is no scalar or depends on no parameter.
    """

    def __init__(self, loss_fn: LossFn, params: Sequence[Tensor]):
        self.loss_fn, self.params = loss_fn, list(params)
        if not self.params or not all(p.requires_grad for p in self.params):
            raise ValueError("HessianVectorProduct: params must be tensors with requires_grad=True")
        with torch.enable_grad():
            loss = loss_fn()
            if loss.numel() != 1:
                raise ValueError(f"loss_fn must return a scalar, not shape {tuple(loss.shape)}")
            if not loss.requires_grad:
                raise ValueError("loss_fn's result must depend on the parameters")
            self._gradient = self._differentiate(loss.reshape(()), create_graph=True)
        self.gradient = self._gradient.detach()
        self.loss = float(loss.detach())
        self.n = self.gradient.numel()

    def __call__(self, v: Tensor) -> Tensor:
        """Hv (n,) for v (n,), in the parameters' dtype and on their device."""
        if v.shape != (self.n,):
            raise ValueError(f"v must have shape ({self.n},), not {tuple(v.shape)}")
        v = v.to(self.gradient)
        if not self._gradient.requires_grad:  # a loss linear in its parameters
            return torch.zeros_like(v)
        return self._differentiate(self._gradient, grad_outputs=v, retain_graph=True).detach()

    def _differentiate(self, outputs: Tensor, **options) -> Tensor:
        gradients = torch.autograd.grad(outputs, self.params, materialize_grads=True, **options)
        return torch.cat([g.flatten() for g in gradients])


def dense_hessian(hvp: HessianVectorProduct) -> Tensor:
    """H (n, n) in float64, column by column: n products, for small n. Symmetrised: (H + Hᵀ)/2."""
    columns = torch.eye(hvp.n, dtype=hvp.gradient.dtype, device=hvp.gradient.device)
    H = torch.stack([hvp(column) for column in columns]).double()
    return (H + H.T) / 2


def lanczos(hvp: HessianVectorProduct, start: Tensor, steps: int) -> Tensor:
    """Lanczos tridiagonal matrix T (m, m) of H from `start` (n,), float64, m ≤ min(steps, n).

    Golub & Van Loan, Matrix Computations, alg. 10.1.1, with full re-orthogonalisation, done twice
    ("twice is enough", Parlett 1998, §6.9), since plain Lanczos returns spurious copies of
    converged eigenvalues, which would be counted as density. T's eigenvalues are the Ritz values;
    the squared first components of its eigenvectors are their Gauss quadrature weights. It ends
    early, with m < steps, when the Krylov space is invariant: β ≤ √ε·‖T‖ changes the weights by
    O(ε).
    Memory m × n numbers of the parameters' dtype. A non-finite product gives T = [[NaN]].
    """
    steps = min(steps, hvp.n)
    negligible = math.sqrt(torch.finfo(hvp.gradient.dtype).eps)
    basis = hvp.gradient.new_empty(steps + 1, hvp.n)
    basis[0] = start / torch.linalg.vector_norm(start)
    alphas: list[float] = []
    betas: list[float] = []
    for m in range(steps):
        w = hvp(basis[m])
        alphas.append(float(w @ basis[m]))
        if not math.isfinite(alphas[m]):
            return torch.full((1, 1), math.nan, dtype=torch.float64)
        for _ in range(2):
            w = w - basis[: m + 1].T @ (basis[: m + 1] @ w)
        betas.append(float(torch.linalg.vector_norm(w)))
        if betas[m] <= negligible * max(map(abs, alphas + betas[:m])):
            break
        basis[m + 1] = w / betas[m]
    off = torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64)
    diagonal = torch.tensor(alphas, dtype=torch.float64)
    return torch.diag(diagonal) + torch.diag(off, 1) + torch.diag(off, -1)
