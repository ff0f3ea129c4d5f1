"""The `model` section of a study: what is trained."""

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from muonlab.data.sections import IMAGES, TEXT
from muonlab.section import Section


class MLP(Section):
    """A multilayer perceptron for images."""

    reads: ClassVar = IMAGES
    name: Literal["mlp"] = "mlp"
    width: int = Field(default=15, ge=1, le=65536)
    """Units of each hidden layer."""
    depth: int = Field(default=3, ge=1, le=1000)
    """Number of hidden layers."""
    bias: bool = False
    """Whether layers have biases (they are trained by AdamW)."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    """Activation after each hidden layer."""


class Transformer(Section):
    """A decoder-only transformer for text, dense or with a mixture of experts in each block."""

    reads: ClassVar = TEXT
    name: Literal["transformer"]
    context: int = Field(default=256, ge=2)
    """Tokens in a sequence."""
    width: int = Field(default=256, ge=2)
    """Size of the residual stream."""
    layers: int = Field(default=4, ge=1)
    """Blocks of attention and feed-forward."""
    heads: int = Field(default=8, ge=1)
    """Query heads of attention."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Key and value heads (grouped-query attention); null is as many as query heads."""
    feedforward: int = Field(default=1024, ge=1)
    """Units inside the feed-forward network, or inside each expert."""
    activation: Literal["silu", "gelu", "relu2", "swiglu"] = "silu"
    """Its activation; swiglu has a third matrix."""
    experts: int = Field(default=0, ge=0)
    """Experts in each block; 0 is a dense feed-forward network."""
    top_k: int = Field(default=2, ge=1)
    """Experts that each token is sent to."""
    router_noise: float = Field(default=0.0, ge=0)
    """Standard deviation of the noise on the router's logits in training."""
    balance_loss: float = Field(default=0.01, ge=0)
    """Weight of the loss that evens out the experts' load."""
    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the loss that keeps the router's logits small."""
    capacity: float | None = Field(default=None, gt=0)
    """Slots of an expert, relative to an even load; null drops no token."""
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    tied: bool = True
    """Whether the output head is the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the activations that is dropped in training."""
    positions: Literal["rope", "none"] = "rope"
    """Rotary positions, or none (a published source's fault)."""
    rope_base: float = Field(default=10000.0, gt=1)
    """Base of the rotary frequencies."""

    @model_validator(mode="after")
    def _consistent(self) -> "Transformer":
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if (self.width // self.heads) % 2 and self.positions == "rope":
            raise ValueError(
                f"width / heads ({self.width // self.heads}) must be even for rotary positions"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        if self.experts and self.top_k > self.experts:
            raise ValueError(f"top_k ({self.top_k}) must not exceed experts ({self.experts})")
        return self


MODELS: dict[str, type[Section]] = {"mlp": MLP, "transformer": Transformer}
ModelConfig = Annotated[Union[*MODELS.values()], Field(discriminator="name")]
READS = {name: section.reads for name, section in MODELS.items()}  # the kind of data of each
