"""PyHessian 0.1 (Yao et al. 2020) as a second opinion on the top eigenvalues.

Only its `eigenvalues()` is used, a power iteration with deflation, and it differs from "lanczos":

* it finds the eigenvalues of largest *magnitude*: if that is a negative eigenvalue, it is returned
  first, and the first value is then not the sharpness;
* it stops when the relative difference of two successive estimates is below `tol` (1e-3 by
  default). That does not bound the error: with close eigenvalues the estimates change slowly, and
  it stops several percent too low.

Its other two methods are not used. `trace()` compares |mean − trace| / (trace + 1e-6) with `tol`
without taking the absolute value of the denominator, so a negative trace stops it after two
samples; and it returns the samples, not their mean. `density()` calls `torch.eig`, which torch has
removed.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from muonlab.measure.hessian import HessianVectorProduct, flat_vector


def pyhessian_top_eigenvalues(
    model: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    k: int = 1,
    *,
    seed: int = 0,
    tol: float = 1e-3,
    max_iter: int = 100,
) -> Tensor:
    """The k eigenvalues of largest |λ| of the loss criterion(model(inputs), targets), descending.

    (k,) float64 over all trainable parameters. The model's mode and gradients are left as found.
    """
    inputs, targets = data
    params = [p for p in model.parameters() if p.requires_grad]
    training = model.training
    model.eval()
    try:
        hvp = HessianVectorProduct(lambda: criterion(model(inputs), targets), params)
        values, _ = power_iteration_eigenpairs(hvp, k, seed=seed, tol=tol, max_iter=max_iter)
    finally:
        model.train(training)
    return values.sort(descending=True).values


def power_iteration_eigenpairs(
    hvp: HessianVectorProduct, k: int, *, seed: int = 0, tol: float = 1e-3, max_iter: int = 100
) -> tuple[Tensor, Tensor]:
    """PyHessian's k eigenpairs of largest |λ|, in its order: values (k,), vectors (k, n), float64.

    PyHessian draws from torch's global generator; it is seeded here and restored afterwards.
    """
    from pyhessian import hessian

    cuda = hvp.gradient.is_cuda
    unused = torch.empty(0, device=hvp.gradient.device)  # the batch is inside loss_fn
    gradients = [p.grad for p in hvp.params]
    default_dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(hvp.gradient.dtype)  # the dtype of PyHessian's random vectors
        with torch.random.fork_rng(devices=[hvp.gradient.device] if cuda else []), _quiet():
            torch.manual_seed(seed)
            solver = hessian(_LossAsModel(hvp), lambda loss, _: loss, (unused, unused), cuda=cuda)
            values, vectors = solver.eigenvalues(maxIter=max_iter, tol=tol, top_n=k)
    finally:
        torch.set_default_dtype(default_dtype)
        for p, gradient in zip(hvp.params, gradients, strict=True):
            p.grad = gradient  # the gradient that PyHessian sets would keep its graph in memory
    rows = torch.stack([flat_vector(v).double() for v in vectors])
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)  # it divides by ‖Hv‖ + 1e-6
    return torch.tensor(values, dtype=torch.float64, device=rows.device), rows


class _LossAsModel:
    """The four methods of a module that PyHessian calls, for a loss that needs no input."""

    def __init__(self, hvp: HessianVectorProduct):
        self.hvp = hvp
        self.zero_grad()

    def __call__(self, _inputs: Tensor) -> Tensor:
        # PyHessian fails for parameters that the loss does not use, or uses linearly. Adding
        # 0·‖p‖² changes neither value, gradient nor Hessian, and puts each parameter into both
        # graphs.
        return self.hvp.loss_fn() + sum(0.0 * p.square().sum() for p in self.hvp.params)

    def eval(self) -> "_LossAsModel":
        return self

    def parameters(self) -> list[Tensor]:
        return self.hvp.params

    def zero_grad(self) -> None:
        for p in self.hvp.params:
            p.grad = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch's warning of the cycle p → p.grad → graph → p, which is broken afterwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        yield
