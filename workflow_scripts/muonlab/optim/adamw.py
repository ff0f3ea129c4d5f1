"""torch's AdamW for every tensor; tensors of one dimension are not decayed.

Loshchilov and Hutter, Decoupled weight decay regularization (arXiv 1711.05101).
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from muonlab.optim.hyperparameters import (
    Beta,
    NotNegative,
    Positive,
    check,
    complete,
    optimizer,
)
from muonlab.optim.sharded import is_sharded

FUSED_DEVICES = ("cpu", "cuda", "meta", "mps", "xpu")
NAME = "adamw"


@optimizer
class AdamW(torch.optim.AdamW):
    """torch's own, fused. Which groups are decayed is the factory's choice."""

    weight_decay: NotNegative = 0.01
    """Decoupled weight decay."""
    beta1: Beta = 0.9
    """Decay rate of the first moment."""
    beta2: Beta = 0.999
    """Decay rate of the second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""

    def __init__(self, params, lr: float = 1e-3, **settings):
        settings = complete(AdamW, settings)
        betas = settings.pop("beta1"), settings.pop("beta2")
        super().__init__(params, lr, betas, fused=True, **settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raises ValueError for a parameter with gaps in memory, such as every second column of a
        matrix, which the fused kernel would update wrongly."""
        super().add_param_group(param_group)
        if not all(is_dense(p) for p in self.param_groups[-1]["params"]):
            raise ValueError("AdamW: a parameter has gaps in memory; make it contiguous first")

    @torch.no_grad()
    def step(self, closure=None):
        """One update; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = like_parameter(p.grad, p)
        super().step()
        return loss


def like_parameter(grad: Tensor, p: Tensor) -> Tensor:
    """The gradient with the strides of its dense parameter, copied only if it has others.

    torch's fused kernel for CPUs walks through memory without a look at the strides, so that a
    transposed gradient would update the wrong entries (docs/upstream.md).
    """
    same = grad.is_sparse or is_sharded(grad) or grad.stride() == p.stride()
    return grad if same else torch.empty_like(p).copy_(grad)


def is_dense(p: Tensor) -> bool:
    """Whether the parameter's entries lie in memory without gaps, in whatever order."""
    return p.is_contiguous() or torch.empty_like(p, device="meta").stride() == p.stride()


# A group of a `MatrixOptimizer` that AdamW updates. The functions below do what the class above
# does, for groups that share one optimizer with the groups of matrices.


def group_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The class's settings, or those that are given and its defaults, under torch's names."""
    own = complete(AdamW, settings)
    return {"betas": (own.pop("beta1"), own.pop("beta2")), **own}


def complete_group(group: dict[str, Any]) -> None:
    """Adds AdamW's defaults to a group, under torch's names. Raises ValueError for values out of
    range and for tensors that are not floating-point."""
    for name, default in group_settings({}).items():
        group.setdefault(name, default)
    group["fused"] = True  # tells torch, when it loads a state, where the number of steps belongs
    given = dict(zip(("beta1", "beta2"), group["betas"], strict=True))
    given |= {name: group[name] for name in ("eps", "weight_decay")}
    for name, value in given.items():
        check(name, AdamW.settings[name][0], value)
    for p in group["params"]:
        if not p.is_floating_point():
            raise ValueError(f"adamw: trains floating-point tensors, not one of {p.dtype}")


def update_group(group: dict[str, Any], state: dict[Tensor, dict]) -> None:
    """AdamW's update of the parameters of `group` that have a gradient, as torch's class makes it,
    with the same state.

    A scheduler that cycles the momentum writes "momentum" into every group of an optimizer whose
    defaults have it; here that is the decay rate of the first moment.
    """
    if "momentum" in group:
        group["betas"] = (group.pop("momentum"), group["betas"][1])
    params = [p for p in group["params"] if p.grad is not None]
    for fused in (True, False):
        own = [p for p in params if can_be_fused(p) is fused]
        if own:
            _update(own, [begun(state[p], p) for p in own], group, fused)


def can_be_fused(p: Tensor) -> bool:
    """Whether the fused kernel updates this parameter rightly; see `like_parameter`."""
    return p.device.type in FUSED_DEVICES and is_dense(p)


def begun(own: dict[str, Tensor], p: Tensor) -> dict[str, Tensor]:
    """The parameter's state, zeros before its first update."""
    if "step" not in own:
        own["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        own["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        own["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
    return own


def _update(params: list[Tensor], states: list[dict], group: dict[str, Any], fused: bool) -> None:
    grads = [p.grad for p in params]
    if any(grad.is_sparse for grad in grads):
        raise ValueError("adamw: takes no sparse gradient; make the embedding with sparse=False")
    beta1, beta2 = group["betas"]
    adamw(
        params,
        [like_parameter(grad, p) for grad, p in zip(grads, params, strict=True)],
        [own["exp_avg"] for own in states],
        [own["exp_avg_sq"] for own in states],
        [],
        [own["step"] for own in states],
        foreach=False,
        fused=fused,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
