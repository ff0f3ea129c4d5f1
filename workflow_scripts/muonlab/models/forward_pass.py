"""The state that one forward pass carries through the layers, besides the activations."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

# The values that a model records while it is watched: {metric: {layer: tensor}}.
Seen = dict[str, dict[int, Tensor]]


@dataclass
class ForwardPass:
    """The state of one forward pass. After the call, only what the model takes from it remains.

    visible    (b, 1, t, t) bool: which keys each query may see; None: all up to its own position
    rotation   the table of rotary positions (t, d / 2, 2); None: there are no positions
    generator  random generator for dropout and router noise; None if there are none
    seen       dictionary for the watched values; None: nothing is watched
    clip       whether the largest attention logit of each head is kept for QK-clip
    """

    visible: Tensor | None = None
    rotation: Tensor | None = None
    generator: torch.Generator | None = None
    seen: Seen | None = None
    clip: bool = False
    losses: list[Tensor] = field(default_factory=list)  # weighted auxiliary losses, one per layer
    largest_logits: list[Tensor] = field(default_factory=list)  # (heads,) each, one per layer

    def note(self, metric: str, layer: int, value: Tensor) -> None:
        """Records a detached value. Call it only if `seen` is not None."""
        self.seen.setdefault(metric, {})[layer] = value.detach()

    def note_size(self, name: str, layer: int, x: Tensor) -> None:
        """Records root mean square and largest absolute value of an activation x: (b, t, d)."""
        x = x.detach().float()
        self.note(f"{name}_rms", layer, x.square().mean().sqrt())
        self.note(f"{name}_max", layer, x.abs().amax())

    def dropout(self, x: Tensor, rate: float, training: bool) -> Tensor:
        """Zeroes entries with probability `rate` and scales the rest by 1 / (1 − rate)."""
        if rate == 0 or not training:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - rate, generator=self.randomness())
        return x * keep.div_(1 - rate)

    def randomness(self) -> torch.Generator:
        """The generator. Raises RuntimeError if the model was not given one."""
        if self.generator is None:
            raise RuntimeError("call set_noise() before training with dropout or router noise")
        return self.generator
