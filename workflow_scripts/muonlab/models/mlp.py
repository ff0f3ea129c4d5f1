"""A multilayer perceptron for images: input, hidden and output matrices, in that order."""

import math

import torch
from torch import Tensor, nn

from muonlab.streams import torch_generator

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU}


class MLP(nn.Module):
    """`depth` hidden layers of `width` units between `inputs` features and `classes` logits."""

    def __init__(
        self, inputs: int, classes: int, width: int, depth: int, bias: bool, activation: str
    ):
        super().__init__()
        sizes = [inputs, *[width] * depth, classes]
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=bias) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Maps pixels in [0, 1], (batch, inputs), to logits (batch, classes)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)

    def components(self) -> dict[str, str]:
        """The component of each tensor: `input`, `hidden` or `output` for matrices, else `bias`."""
        last = len(self.layers) - 1
        place = {0: "input", last: "output"}
        return {
            name: "bias" if p.ndim < 2 else place.get(int(name.split(".")[1]), "hidden")
            for name, p in self.named_parameters()
        }

    @torch.no_grad()
    def initialise(self, *stream: str | int) -> None:
        """Draws every tensor from U(−1/√fan_in, 1/√fan_in), as torch.nn.Linear does.

        Each tensor has its own random stream, (*stream, name of the tensor), so a tensor that two
        architectures share has the same initial values in both.
        """
        for i, layer in enumerate(self.layers):
            bound = 1 / math.sqrt(layer.in_features)
            for name, p in layer.named_parameters():
                generator = torch_generator(*stream, f"layers.{i}.{name}")
                p.copy_(torch.empty(p.shape).uniform_(-bound, bound, generator=generator))
