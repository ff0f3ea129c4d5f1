"""The feed-forward part of a layer, and the activations that experts share with it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def relu2(x: Tensor) -> Tensor:
    """Squared ReLU, So et al., Primer (arXiv 2109.08668)."""
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "relu2": relu2,
    "swiglu": F.silu,  # applied to the gate, which multiplies up: Shazeer (arXiv 2002.05202)
}
GATED = ("swiglu",)


class FeedForward(nn.Module):
    """down · a(up · x), or down · (a(gate · x) ∘ (up · x)) where the activation is gated."""

    def __init__(self, width: int, hidden: int, activation: str):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.up = nn.Parameter(torch.empty(hidden, width))
        self.gate = nn.Parameter(torch.empty(hidden, width)) if activation in GATED else None
        self.down = nn.Parameter(torch.empty(width, hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, t, width) to the same shape."""
        if self.gate is None:
            return F.linear(self.activation(F.linear(x, self.up)), self.down)
        gate, up = F.linear(x, torch.cat((self.gate, self.up))).chunk(2, -1)
        return F.linear(self.activation(gate) * up, self.down)
