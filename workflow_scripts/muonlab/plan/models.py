"""The `model` section of a study: the model that is trained."""

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from muonlab.data.sections import IMAGES, TEXT
from muonlab.section import Section


class MLP(Section):
    """A multilayer perceptron for images."""

    reads: ClassVar = IMAGES
    name: Literal["mlp"] = "mlp"
    width: int = Field(default=15, ge=1, le=65536)
    """Number of units in each hidden layer."""
    depth: int = Field(default=3, ge=1, le=1000)
    """Number of hidden layers."""
    bias: bool = False
    """Whether layers have biases. AdamW trains them."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    """Activation after each hidden layer."""


class Transformer(Section):
    """A decoder-only transformer for text, dense or with a mixture of experts in each block."""

    reads: ClassVar = TEXT
    name: Literal["transformer"]
    context: int = Field(default=256, ge=2)
    """Number of tokens in a sequence."""
    width: int = Field(default=256, ge=2)
    """Size of the residual stream."""
    layers: int = Field(default=4, ge=1)
    """Number of layers, each with an attention part and a feed-forward part."""
    heads: int = Field(default=8, ge=1)
    """Number of query heads of the attention."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Number of key and value heads (grouped-query attention); null means as many as query
    heads."""
    feedforward: int = Field(default=1024, ge=1)
    """Number of hidden units in the feed-forward network, or in each expert."""
    activation: Literal["silu", "gelu", "relu2", "swiglu"] = "silu"
    """Activation of the feed-forward network or the experts; swiglu adds a third matrix."""
    experts: int = Field(default=0, ge=0)
    """Number of experts in each layer; 0 means a dense feed-forward network."""
    top_k: int = Field(default=2, ge=1)
    """Number of experts that each token is sent to."""
    router_noise: float = Field(default=0.0, ge=0)
    """Standard deviation of the noise that is added to the router's logits in training."""
    balance_loss: float = Field(default=0.01, ge=0)
    """Weight of the auxiliary loss that balances the load of the experts."""
    z_loss: float = Field(default=0.0, ge=0)
    """Weight of the auxiliary loss that keeps the router's logits small."""
    capacity: float | None = Field(default=None, gt=0)
    """How many tokens an expert accepts, as a multiple of its share under an even load; further
    tokens are dropped. null drops no token."""
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    tied: bool = True
    """Whether the output head shares the matrix of the embedding."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the activations that is dropped in training."""
    positions: Literal["rope", "none"] = "rope"
    """Rotary position embedding, or no positions at all (a fault of a published source)."""
    rope_base: float = Field(default=10000.0, gt=1)
    """Base of the rotary frequencies."""
    initial_std: float | None = Field(default=None, gt=0)
    """Standard deviation of the initial weights; null takes 1/√(3 · fan_in), which follows the
    width. The published sources use 0.02 at every width. Matrices that add to the residual stream
    have 1/√(2 · layers) of it."""
    scaled_embedding: bool = False
    """Whether the output of the embedding is multiplied by √width, as in a published source."""
    fused_attention: bool = False
    """Whether the query, key and value matrices of a layer are one parameter, the component
    query_key_value, as in the published sources; Muon then orthogonalizes them as one matrix."""

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
# The kind of data that each model reads.
READS = {name: section.reads for name, section in MODELS.items()}
