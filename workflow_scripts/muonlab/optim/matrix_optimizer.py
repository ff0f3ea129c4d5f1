"""The base class of optimizers for matrices: arguments, checks, and the loop over parameters."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from muonlab.optim.hyperparameters import check, complete
from muonlab.optim.precision import HALF


class MatrixOptimizer(Optimizer):
    """An optimizer for matrices (out, in) and stacks of matrices (experts, out, in).

    A subclass is marked `@optimizer`. It defines its settings and `update`, or `update_group` if it
    updates parameters together. A parameter group can have settings of its own. Raises TypeError
    for an unknown argument; ValueError for a setting out of range, for a parameter that is not a
    floating-point matrix or a stack of them, and for a sparse gradient.
    """

    # Whether weights may be in half precision.
    HALF_WEIGHTS = True

    def __init__(self, params, lr: float = 1e-3, **settings):
        super().__init__(params, dict(lr=lr) | complete(type(self), settings))

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not group["lr"] >= 0:
            raise ValueError(f"lr: must not be negative, not {group['lr']}")
        for name, (kind, _) in self.settings.items():
            check(name, kind, group[name])
        for p in group["params"]:
            check_parameter(type(self).__name__, p, self.HALF_WEIGHTS)

    def attach(self, model: nn.Module) -> None:
        """Takes from the model what the optimizer needs besides its matrices and gradients."""

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for place, group in enumerate(self.param_groups):
            self.update_group(place, group)
        return loss

    def update_group(self, place: int, group: dict) -> None:
        """Updates the parameters that have a gradient in `group`, the group number `place`."""
        for p in group["params"]:
            if p.grad is not None:
                self.check_gradient(p.grad)
                self.update(p, group)

    def update(self, p: Tensor, group: dict) -> None:
        """Updates one parameter by its gradient."""
        raise NotImplementedError

    def check_gradient(self, grad: Tensor) -> None:
        """Raises ValueError for a sparse gradient."""
        if grad.is_sparse:
            name = type(self).__name__
            raise ValueError(f"{name}: a sparse gradient is no matrix; give this to AdamW")


def check_parameter(optimizer: str, p: Tensor, half: bool = True) -> None:
    """Raises ValueError for anything but a floating-point matrix or stack of matrices.

    `half` says whether the optimizer works on weights in half precision.
    """
    if not half and p.dtype in HALF:
        raise ValueError(f"{optimizer} decomposes matrices: keep its weights in float32")
    if p.ndim not in (2, 3) or not p.is_floating_point():
        raise ValueError(
            f"{optimizer} takes floating-point matrices (out, in) or stacks (experts, out, in), "
            f"not a {p.dtype} parameter of shape {tuple(p.shape)}; give it to AdamW"
        )
