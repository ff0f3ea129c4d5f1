"""SGD with momentum is torch's own; weight decay enters the gradient (it is not decoupled)."""

import torch
from torch import nn

from muonlab.optim.adamw import decay_groups

DEFAULTS = dict(momentum=0.9, nesterov=False, weight_decay=0.0)


def make(
    named: list[tuple[str, nn.Parameter]],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> torch.optim.SGD:
    """torch's SGD for all tensors; vectors and scalars are not decayed."""
    return torch.optim.SGD(
        decay_groups(named, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov
    )
