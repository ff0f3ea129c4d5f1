"""A decoder-only transformer for language: pre-norm RMSNorm, RoPE, dense or mixture of experts.

Shapes: b sequences, t positions, V tokens of the vocabulary, L layers.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muonlab.models.attention import Attention
from muonlab.models.feedforward import ACTIVATIONS, FeedForward
from muonlab.models.forward_pass import ForwardPass, Seen
from muonlab.models.moe import MixtureOfExperts
from muonlab.models.rope import rotation
from muonlab.streams import torch_generator

POSITIONS = ("rope", "none")
# The component of a tensor, by the end of its name.
COMPONENTS = {
    "embedding": "embedding",
    "head": "head",
    "attention.query": "query",
    "attention.key": "key",
    "attention.value": "value",
    "attention.query_key_value": "query_key_value",
    "attention.output": "attention_output",
    "feedforward.up": "up",
    "feedforward.gate": "gate",
    "feedforward.down": "down",
    "experts.router": "router",
    "experts.up": "expert_up",
    "experts.gate": "expert_gate",
    "experts.down": "expert_down",
}
RESIDUAL_OUTPUTS = ("attention_output", "down", "expert_down")


class Block(nn.Module):
    """x + attention(norm(x)), then the same with the feed-forward part or the experts."""

    def __init__(self, layer: int, attention: Attention, mixer: nn.Module, width: int, eps: float):
        super().__init__()
        self.layer, self.width, self.eps = layer, width, eps
        self.attention_norm = nn.Parameter(torch.empty(width))
        self.attention = attention
        self.feedforward_norm = nn.Parameter(torch.empty(width))
        self.sparse = isinstance(mixer, MixtureOfExperts)
        self.add_module("experts" if self.sparse else "feedforward", mixer)

    def forward(self, x: Tensor, run: ForwardPass, dropout: float) -> Tensor:
        """Maps (b, t, width) to the same shape."""
        size = (self.width,)
        y = self.attention(F.rms_norm(x, size, self.attention_norm, self.eps), run)
        x = x + run.dropout(y, dropout, self.training)
        normalised = F.rms_norm(x, size, self.feedforward_norm, self.eps)
        z = self.experts(normalised, run) if self.sparse else self.feedforward(normalised)
        x = x + run.dropout(z, dropout, self.training)
        if run.seen is not None:
            run.note_size("attention_output", self.layer, y)
            run.note_size("feedforward_output", self.layer, z)
            run.note_size("activation", self.layer, x)
        return x


class Transformer(nn.Module):
    """The language model. It has no biases. Call `initialise` before using it.

    vocab, context  size of the vocabulary; length of the longest sequence
    width, layers   features of the residual stream; number of blocks
    heads, kv_heads number of query heads, and of the key heads that they share (None: as many);
                    width / heads must be even for rotary positions
    feedforward     hidden units of the feed-forward part, or of each expert
    activation      silu, gelu, relu2 (two matrices) or swiglu (three)
    experts         0: dense; otherwise each feed-forward part is a `MixtureOfExperts`, which
                    describes `top_k`, `router_noise`, `balance_loss`, `z_loss` and `capacity`
    tied            whether the head uses the matrix of the embedding
    dropout         applied to the outputs of the embedding, attention and feed-forward parts
    positions       "rope", or "none": then only the causal mask distinguishes positions
    initial_std     standard deviation of the initial weights, or None for 1/√(3 · fan_in)
    scaled_embedding  whether the embedding's output is multiplied by √width
    fused_attention whether query, key and value matrices are one parameter

    Raises ValueError for sizes that do not fit together.
    """

    def __init__(
        self,
        vocab: int,
        context: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        kv_heads: int | None = None,
        activation: str = "silu",
        experts: int = 0,
        top_k: int = 2,
        router_noise: float = 0.0,
        balance_loss: float = 0.01,
        z_loss: float = 0.0,
        capacity: float | None = None,
        qk_norm: bool = False,
        tied: bool = True,
        dropout: float = 0.0,
        positions: str = "rope",
        rope_base: float = 10000.0,
        initial_std: float | None = None,
        scaled_embedding: bool = False,
        fused_attention: bool = False,
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        _check(width, heads, kv_heads, activation, experts, top_k, dropout, positions)
        self.vocab, self.context, self.width = vocab, context, width
        self.qk_norm, self.dropout, self.eps = qk_norm, dropout, norm_eps
        self.initial_std = initial_std
        self.embedding_scale = math.sqrt(width) if scaled_embedding else 1.0
        self.embedding = nn.Parameter(torch.empty(vocab, width))
        self.layers = nn.ModuleList()
        self.rope_base = rope_base if positions == "rope" else None
        self.head_size = width // heads
        for i in range(layers):
            attention = Attention(i, width, heads, kv_heads, qk_norm, norm_eps, fused_attention)
            if experts:
                mixer = MixtureOfExperts(
                    i,
                    width,
                    feedforward,
                    experts,
                    top_k,
                    activation,
                    router_noise,
                    balance_loss,
                    z_loss,
                    capacity,
                )
            else:
                mixer = FeedForward(width, feedforward, activation)
            self.layers.append(Block(i, attention, mixer, width, norm_eps))
        self.norm = nn.Parameter(torch.empty(width))
        self.head = None if tied else nn.Parameter(torch.empty(vocab, width))
        self.track_logits = False  # whether training passes keep values for `qk_clip_targets`
        self._generator: torch.Generator | None = None
        self._seen: Seen | None = None
        self._losses: list[Tensor] = []
        self._largest: list[Tensor] = []

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Maps tokens (b, t) int64 to logits (b, t, V) for the token after each, in the dtype of
        matrix products: float32, or bfloat16 under autocast.

        documents (b, t) int gives the document of each token; attention is then restricted to
        tokens of the same document. Raises ValueError for more than `context` tokens.
        """
        if tokens.size(1) > self.context:
            raise ValueError(
                f"{tokens.size(1)} tokens in a row; the model's context is {self.context}"
            )
        run = ForwardPass(
            visible=None if documents is None else visible_pairs(documents),
            rotation=self.rotation_of(tokens.size(1)),
            generator=self._generator,
            seen=self._seen,
            clip=self.track_logits and self.training,
        )
        x = F.embedding(tokens, self.embedding)
        if self.embedding_scale != 1.0:
            x = x * self.embedding_scale
        x = run.dropout(x, self.dropout, self.training)
        for block in self.layers:
            x = block(x, run, self.dropout)
        self._losses = run.losses
        if run.clip:
            self._keep_largest(run.largest_logits)
        x = F.rms_norm(x, (self.width,), self.norm, self.eps)
        return F.linear(x, self.embedding if self.head is None else self.head)

    def rotation_of(self, length: int) -> Tensor | None:
        """The table of rotary positions (length, d / 2, 2), or None without them."""
        if self.rope_base is None:
            return None
        return rotation(length, self.head_size, self.rope_base, self.embedding)

    def auxiliary_loss(self) -> Tensor:
        """The weighted balance and z losses of the last forward pass, summed over layers: a scalar
        to add to the loss. It is 0 without experts."""
        if not self._losses:
            return torch.zeros((), device=self.embedding.device)
        return torch.stack(self._losses).sum()

    def components(self) -> dict[str, str]:
        """The component of each tensor: one of the values of `COMPONENTS`, or `norm`."""
        return {
            name: COMPONENTS.get(".".join(name.split(".")[-2:]), "norm")
            for name, _ in self.named_parameters()
        }

    def layer_of(self) -> dict[str, int | None]:
        """The layer of each tensor, counted from 0; None for embedding, last norm and head."""
        return {
            name: int(name.split(".")[1]) if name.startswith("layers.") else None
            for name, _ in self.named_parameters()
        }

    @torch.no_grad()
    def initialise(self, *stream: str | int) -> None:
        """Draws every matrix from a normal distribution and sets the gains of norms to 1.

        The standard deviation is `initial_std` or, without it, 1/√(3 · fan_in), which follows the
        width as that of torch.nn.Linear does; the fan_in of the embedding is the width. A fixed
        0.02, as in GPT-2, is small for narrow models: 0.02 at width 768 is 0.55/√width. Matrices
        whose products are added to the residual stream have 1/√(2 L) of it (GPT-2, Radford et
        al. 2019, section 2.3). Each tensor has its own random stream, (*stream, name of the
        tensor), so a tensor that two architectures share has the same initial values in both.
        """
        components = self.components()
        for name, p in self.named_parameters():
            if components[name] == "norm":
                p.fill_(1.0)
                continue
            std = self.initial_std or 1 / math.sqrt(3 * p.size(-1))
            if components[name] in RESIDUAL_OUTPUTS:
                std /= math.sqrt(2 * len(self.layers))
            generator = torch_generator(*stream, name)
            p.copy_(torch.empty(p.shape).normal_(0, std, generator=generator))

    def set_noise(self, generator: torch.Generator | None) -> None:
        """Sets the random generator for dropout and router noise, on the model's device.

        Nothing else draws from it. If a trainer gives each step a generator that is seeded by the
        run's seed and the number of the step, it can resume exactly without saving its state.
        """
        self._generator = generator

    @contextmanager
    def watching(self) -> Iterator[Seen]:
        """Inside this context, forward passes record detached values in the yielded dictionary,
        {metric: {layer: tensor}}. A later pass overwrites the values of an earlier one.

        activation_rms, activation_max        the residual stream after the block, scalars
        attention_output_…, feedforward_output_…  the same of what each part adds
        attention_logit_max_per_head          (heads,) largest |q · k| / √d among visible pairs
        attention_logit_max                   its maximum
        With experts: expert_load             (E,) fraction of routed slots, before capacity
        expert_load_entropy, router_entropy   over ln E: of the load, mean over tokens of the router
        dropped_fraction                      of slots, over capacity
        balance_loss, z_loss                  unweighted
        """
        self._seen = {}
        try:
            yield self._seen
        finally:
            self._seen = None

    def expert_load(self) -> Tensor:
        """(L, E) The fraction of the routed slots that each expert got in the last forward pass.

        Raises ValueError without experts or before a forward pass.
        """
        counts = [block.experts.counts for block in self.layers if block.sparse]
        if not counts or counts[0] is None:
            raise ValueError("expert_load: needs a model with experts, after a forward pass")
        counts = torch.stack(counts)
        return counts / counts.sum(1, keepdim=True)

    def qk_clip_targets(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For MuonClip: the query weight, the key weight and the largest absolute logit of each
        head (heads,) in each layer, over the training passes since the last call.

        Raises ValueError if `track_logits` was off in those passes, and with QK-norm, under which
        logits do not depend on the size of the weights.
        """
        if self.qk_norm:
            raise ValueError(
                "qk_clip: in a model with QK-norm, scaling the weights cannot clip the logits"
            )
        if not self._largest:
            raise ValueError("qk_clip: no training pass was made with track_logits = True")
        largest, self._largest = self._largest, []
        attentions = [block.attention for block in self.layers]
        return [(*a.query_and_key(), s) for a, s in zip(attentions, largest, strict=True)]

    def _keep_largest(self, logits: list[Tensor]) -> None:
        before = self._largest or logits
        self._largest = [torch.maximum(a, b) for a, b in zip(before, logits, strict=True)]

    def __getstate__(self) -> dict:
        """Copies leave out the state of a forward pass, as graphs and generators cannot be
        copied."""
        fresh = {"_losses": [], "_largest": [], "_seen": None, "_generator": None}
        return self.__dict__ | fresh


def visible_pairs(documents: Tensor) -> Tensor:
    """Which keys each query may see, (b, 1, t, t) bool, from document numbers (b, t): those of the
    same document that do not come later."""
    same = documents[:, :, None] == documents[:, None, :]
    return same.tril().unsqueeze(1)


def _check(width, heads, kv_heads, activation, experts, top_k, dropout, positions) -> None:
    """Raises ValueError for sizes that do not fit together."""
    if width % heads or (positions == "rope" and width // heads % 2):
        raise ValueError(f"width: {width} must be an even multiple of heads, {heads}")
    if heads % kv_heads:
        raise ValueError(f"kv_heads: {kv_heads} must divide heads, {heads}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    if experts and not 1 <= top_k <= experts:
        raise ValueError(f"top_k: must be from 1 to experts, {experts}, not {top_k}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: must be from 0 to under 1, not {dropout}")
    if positions not in POSITIONS:
        raise ValueError(f"positions: must be one of {', '.join(POSITIONS)}, not {positions!r}")
