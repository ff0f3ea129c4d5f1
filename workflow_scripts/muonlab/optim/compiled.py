"""The update of one stack as a single function of tensors, for torch.compile.

On a GPU the step of many small matrices is limited by kernel launches. Compiled, the momentum, the
iteration and the weights' update of a stack are a few fused kernels, and with
`{"mode": "reduce-overhead"}` one CUDA graph. Rates are tensors, so that a change of the learning
rate compiles nothing again; shapes are static (`dynamic=False`). On a CPU compilation takes 20–30 s
and gains nothing.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from muonlab.optim.iteration import Plan, frobenius, iterate
from muonlab.optim.scale import fix_rms


def stack_update(
    params: list[Tensor],
    grads: list[Tensor],
    buffers: list[Tensor],
    lr: Tensor,
    rate: Tensor,
    factor: float | None,
    momentum: float,
    nesterov: bool,
    plan: Plan,
) -> None:
    """Muon's update of parameters of one shape, in place, as `Muon` documents it.

    lr and rate (of the decay, times lr) are tensors of one element on the parameters' device;
    `factor` scales the polar factors, None brings them to one root mean square.
    """
    torch._foreach_lerp_(buffers, grads, 1 - momentum)
    U = torch.stack(buffers)
    if nesterov:
        U = torch.stack(grads).lerp(U, momentum)
    X = U.flatten(0, -3)
    X = (X / (frobenius(X) * plan.norm_factor)).to(plan.dtype)
    polar = iterate(X, plan).to(U.dtype).view_as(U)
    if factor is None:
        fix_rms(polar)
        factor = 1.0
    for p, update in zip(params, polar.unbind(), strict=True):
        p.sub_(lr * (factor * update + rate * p))


@lru_cache(maxsize=64)
def compiled_update(options: tuple[tuple[str, object], ...]) -> Callable:
    """`stack_update` compiled with these options of torch.compile."""
    return torch.compile(stack_update, dynamic=False, fullgraph=True, **dict(options))


def without_looking(plan: Plan) -> Plan:
    """The plan without the decision that has to read a number from the device."""
    return plan._replace(spread_segments=plan.segments)
