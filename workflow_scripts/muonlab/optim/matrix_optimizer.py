"""What the optimizers for matrices share: their arguments, their checks, and the step's frame."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from muonlab.optim.precision import HALF
from muonlab.optim.scale import SCALES


class MatrixOptimizer(Optimizer):
    """An optimizer for matrices (out, in) and stacks of matrices (experts, out, in).

    A subclass gives FIELDS and `update`, or `update_group` where it treats parameters together.
    Raises TypeError for an unknown argument; ValueError for a hyperparameter out of range, for a
    parameter that is no floating-point matrix or stack of them, and for a sparse gradient.
    """

    # What a parameter group holds beside lr, with the defaults.
    FIELDS: dict = {}
    # Whether weights may be in half precision.
    HALF_WEIGHTS = True

    def __init__(self, params, lr: float, fields: dict):
        unknown = set(fields) - set(self.FIELDS)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(sorted(unknown))}")
        super().__init__(params, dict(lr=lr) | self.FIELDS | fields)

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        check_ranges(group)
        self.check_group(group)
        for p in group["params"]:
            check_parameter(type(self).__name__, p, self.HALF_WEIGHTS)

    def check_group(self, group: dict) -> None:
        """Raises ValueError for one of the optimizer's own hyperparameters out of range."""

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
        """Updates the parameters of the group, the `place`-th, that have a gradient."""
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


def check_ranges(group: dict) -> None:
    """Raises ValueError for a hyperparameter out of range, of those that optimizers share."""
    if group.get("scale", "none") not in SCALES:
        raise ValueError(f"scale: must be one of {', '.join(SCALES)}, not {group['scale']!r}")
    for name in ("momentum", "beta2"):
        if not 0 <= group.get(name, 0) < 1:
            raise ValueError(f"{name}: must be in [0, 1), not {group[name]}")
    for name in ("lr", "weight_decay", "eps"):
        if not group.get(name, 0) >= 0:
            raise ValueError(f"{name}: must not be negative, not {group[name]}")
    if not group.get("threshold", 1) > 0:
        raise ValueError(f"threshold: must be positive, not {group['threshold']}")
