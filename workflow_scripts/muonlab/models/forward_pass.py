"""What one forward pass carries through the layers, besides the activations."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

# What a model under watch records: {metric: {layer: tensor}}.
Seen = dict[str, dict[int, Tensor]]


@dataclass
class ForwardPass:
    """The state of one forward pass; nothing of it outlives the call but what the model takes.

    visible    (b, 1, t, t) bool, which key each query may see; None: all up to its own position
    generator  source of dropout and router noise; None where there is none
    seen       where watched values go; None: nothing is watched
    clip       whether each head's largest attention logit is kept for QK-clip
    """

    visible: Tensor | None = None
    generator: torch.Generator | None = None
    seen: Seen | None = None
    clip: bool = False
    losses: list[Tensor] = field(default_factory=list)  # weighted auxiliary losses, one a layer
    largest_logits: list[Tensor] = field(default_factory=list)  # (heads,) each, one a layer

    def note(self, metric: str, layer: int, value: Tensor) -> None:
        """Records a detached value; call only where `seen` is not None."""
        self.seen.setdefault(metric, {})[layer] = value.detach()

    def note_size(self, name: str, layer: int, x: Tensor) -> None:
        """Root mean square and largest absolute value of an activation x: (b, t, d)."""
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
        """The generator. Raises RuntimeError where the model was given none."""
        if self.generator is None:
            raise RuntimeError("a model with dropout or router noise trains after set_noise() only")
        return self.generator
