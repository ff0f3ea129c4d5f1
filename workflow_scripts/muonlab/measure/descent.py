"""One update as its loss sees it: what it gains to first order, and what curvature takes back.

For the update Δ = W_{t+1} − W_t and gradient g and Hessian H at W_t,

    L(W_t) − L(W_{t+1}) = −gᵀΔ − ½ΔᵀHΔ + O(‖Δ‖³) = gain − penalty + remainder

The penalty ½ΔᵀHΔ = ½‖Δ‖²·NDS splits over groups of parameters (layers) into that within each group,
½Δ_ℓᵀH_ℓℓΔ_ℓ, and that across pairs of them. NDS = ΔᵀHΔ/‖Δ‖² is the normalized directional sharpness
(Wang et al., arXiv 2606.04662).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from muonlab.measure.hessian import HessianVectorProduct


class Descent(NamedTuple):
    """One update on one batch, all in nats but `norm` = ‖Δ‖ and `sharpness` = NDS.

    `decrease` is L(W_t) − L(W_{t+1}), `within` and `across` add up to `penalty`, `remainder` is
    decrease − gain + penalty. `loss` is L(W_t).
    """

    loss: float
    decrease: float
    gain: float
    penalty: float
    within: float
    across: float
    remainder: float
    sharpness: float
    norm: float


def one_step(
    loss_fn: Callable[[], Tensor],
    parameters: Mapping[str, Tensor],
    update: Mapping[str, Tensor],
    groups: Sequence[Sequence[str]],
) -> Descent:
    """The descent of `update` from the present values of `parameters`, which are left as found.

    loss_fn()  the scalar loss on one fixed batch, as `HessianVectorProduct` needs it
    groups     the names of each group's parameters; together every parameter once

    One Hessian-vector product for each group. A zero update has sharpness NaN. Raises ValueError if
    the groups do not hold every parameter once.
    """
    named = [name for group in groups for name in group]
    if sorted(named) != sorted(parameters):
        raise ValueError("one_step: the groups must together have every parameter once")
    hvp = HessianVectorProduct(loss_fn, list(parameters.values()))
    sizes = [p.numel() for p in parameters.values()]
    whole = torch.cat([update[name].flatten().to(hvp.gradient) for name in parameters])
    place = dict(zip(parameters, range(len(sizes)), strict=True))
    within, bent = 0.0, torch.zeros_like(whole)
    for group in groups:
        own = torch.zeros_like(whole)
        parts, all_parts = own.split(sizes), whole.split(sizes)
        for name in group:
            parts[place[name]].copy_(all_parts[place[name]])
        product = hvp(own)
        within += float(own @ product) / 2
        bent += product
    penalty, squared = float(whole @ bent) / 2, float(whole @ whole)
    gain, loss = -float(hvp.gradient @ whole), hvp.loss
    decrease = loss - _after(loss_fn, parameters, whole.split(sizes))
    return Descent(
        loss=loss,
        decrease=decrease,
        gain=gain,
        penalty=penalty,
        within=within,
        across=penalty - within,
        remainder=decrease - gain + penalty,
        sharpness=2 * penalty / squared if squared else float("nan"),
        norm=squared**0.5,
    )


@torch.no_grad()
def _after(
    loss_fn: Callable[[], Tensor], parameters: Mapping[str, Tensor], moves: Sequence[Tensor]
) -> float:
    """The loss after the moves, which are then undone exactly."""
    before = [p.detach().clone() for p in parameters.values()]
    for p, move in zip(parameters.values(), moves, strict=True):
        p += move.view_as(p)
    loss = float(loss_fn())
    for p, old in zip(parameters.values(), before, strict=True):
        p.copy_(old)
    return loss
