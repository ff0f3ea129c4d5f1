"""Muon: momentum, orthogonalized by Newton–Schulz, as a torch optimizer.

Muon is for hidden weight matrices. Embeddings, output heads, norms and biases belong to AdamW
(`muonlab.optim.factory` builds both from one config section and writes who got what).
"""

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from muonlab.optim.coefficients import Triple, schedule
from muonlab.optim.newton_schulz import newton_schulz

SCALES = ("match_rms_adamw", "original", "none")


class Muon(Optimizer):
    """Muon for matrices (out, in) and stacks of matrices (experts, out, in).

    Each stacked matrix is orthogonalized on its own. With M the momentum and G the gradient:
    M ← μM + (1−μ)G; U = (1−μ)G + μM with Nesterov, else M; O = newton_schulz(U);
    W ← (1 − lr·weight_decay)·W − lr·s·O, where s is sqrt(max(1, out/in)) for scale "original",
    0.2·sqrt(max(out, in)) for "match_rms_adamw" (Liu et al., arXiv 2502.16982, eq. 4; the update
    then has AdamW's usual root mean square and can share its learning rate), or 1 for "none".

    `orthogonalize=False` leaves U as it is (plain momentum), `momentum=0` is spectral descent.
    `dtype` is that of the matrix products, see `newton_schulz`. Gradients are never written to.

    Raises ValueError for a parameter that is not a floating-point matrix or stack of matrices, for
    a sparse gradient and for a hyperparameter out of range. Source: K. Jordan, Muon (2024).
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        ns_coefficients: str | list[Triple] = "jordan",
        scale: str = "match_rms_adamw",
        weight_decay: float = 0.1,
        orthogonalize: bool = True,
        dtype: torch.dtype | None = None,
    ):
        defaults = dict(
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            ns_coefficients=ns_coefficients,
            scale=scale,
            weight_decay=weight_decay,
            orthogonalize=orthogonalize,
            dtype=dtype,
        )
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        _check_hyperparameters(group)
        for p in group["params"]:
            if p.ndim not in (2, 3) or not p.is_floating_point():
                raise ValueError(
                    f"Muon takes floating-point matrices (out, in) or stacks (experts, out, in), "
                    f"not a {p.dtype} parameter of shape {tuple(p.shape)}; give it to AdamW"
                )

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict) -> None:
        if p.grad.is_sparse:
            raise ValueError("Muon: sparse gradients cannot be orthogonalized; give this to AdamW")
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
        update = momentum_update(
            p.grad, state["momentum_buffer"], group["momentum"], group["nesterov"]
        )
        if group["orthogonalize"]:
            update = newton_schulz(
                update, group["ns_coefficients"], group["ns_steps"], group["dtype"]
            )
        step_size = group["lr"] * update_scale(p.size(-2), p.size(-1), group["scale"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update, alpha=-step_size)


def momentum_update(grad: Tensor, buffer: Tensor, momentum: float, nesterov: bool) -> Tensor:
    """Moves `buffer` to μ·buffer + (1−μ)·grad in place; returns what is to be orthogonalized.

    The result never shares memory with `grad` when it differs from it, and must not be written to
    when nesterov is off, since it is the buffer itself.
    """
    buffer.lerp_(grad, 1 - momentum)
    return grad.lerp(buffer, momentum) if nesterov else buffer


def update_scale(rows: int, columns: int, scale: str) -> float:
    """The factor on lr for a matrix (rows = out, columns = in)."""
    if scale == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    if scale == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 1.0


def _check_hyperparameters(group: dict) -> None:
    if group["scale"] not in SCALES:
        raise ValueError(f"scale: must be one of {', '.join(SCALES)}, not {group['scale']!r}")
    if not 0 <= group["momentum"] < 1:
        raise ValueError(f"momentum: must be in [0, 1), not {group['momentum']}")
    if not isinstance(group["ns_steps"], int) or group["ns_steps"] < 1:
        raise ValueError(f"ns_steps: must be a whole number ≥ 1, not {group['ns_steps']!r}")
    for name in ("lr", "weight_decay"):
        if group[name] < 0:
            raise ValueError(f"{name}: must not be negative, not {group[name]}")
    if group["ns_coefficients"] != "exact":
        schedule(group["ns_coefficients"])
