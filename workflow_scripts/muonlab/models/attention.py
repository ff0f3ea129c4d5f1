"""Causal self-attention with shared key heads, rotary positions and optional QK-norm.

Shapes: b sequences, t positions, h query heads, g key heads (g divides h), d features of a head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muonlab.models.forward_pass import ForwardPass
from muonlab.models.rope import rotate

# Positions up to which explicit attention is faster in bfloat16 on a CPU, where the gradient of the
# fused kernel is slow.
LONGEST_EXPLICIT = 512
LOGITS_AT_ONCE = 2**24  # number of logits that `largest_logits` holds at a time


class Attention(nn.Module):
    """Four matrices without bias: query (h · d, width), key and value (g · d, width) and output
    (width, h · d). Several query heads share a key head: Ainslie et al., GQA (arXiv 2305.13245).

    With `qk_norm`, queries and keys get an RMS norm with a gain over the features of each head,
    before the rotation by their positions (`ForwardPass.rotation`). With `fused`, the first three
    matrices are the rows of one parameter, which an optimizer for matrices then treats as one.
    """

    def __init__(
        self,
        layer: int,
        width: int,
        heads: int,
        kv_heads: int,
        qk_norm: bool,
        norm_eps: float,
        fused: bool = False,
    ):
        super().__init__()
        self.layer, self.heads, self.kv_heads = layer, heads, kv_heads
        self.size = width // heads
        self.norm_eps, self.fused = norm_eps, fused
        rows = {"query": heads, "key": kv_heads, "value": kv_heads}
        if fused:
            rows = {"query_key_value": heads + 2 * kv_heads}
        for name, count in rows.items():
            self.register_parameter(name, nn.Parameter(torch.empty(count * self.size, width)))
        self.output = nn.Parameter(torch.empty(width, heads * self.size))
        self.query_norm = nn.Parameter(torch.empty(self.size)) if qk_norm else None
        self.key_norm = nn.Parameter(torch.empty(self.size)) if qk_norm else None

    def forward(self, x: Tensor, run: ForwardPass) -> Tensor:
        """Maps (b, t, width) to the same shape."""
        query, key, value = self.queries_keys_values(x, run.rotation)
        if run.seen is not None or run.clip:
            self._note_logits(query, key, run)
        y = attended(query, key, value, run.visible)
        return F.linear(y.transpose(1, 2).flatten(2), self.output)

    def query_and_key(self) -> tuple[Tensor, Tensor]:
        """The query matrix (h · d, width) and the key matrix (g · d, width), which share the
        parameters' memory."""
        if not self.fused:
            return self.query, self.key
        ends = self.heads * self.size, (self.heads + self.kv_heads) * self.size
        return self.query_key_value[: ends[0]], self.query_key_value[ends[0] : ends[1]]

    def queries_keys_values(
        self, x: Tensor, rotation: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (b, h, t, d), keys and values (b, g, t, d).

        They come from one product with all three matrices; queries and keys are rotated together.
        """
        matrices = (
            self.query_key_value if self.fused else torch.cat((self.query, self.key, self.value))
        )
        projected = F.linear(x, matrices).unflatten(-1, (-1, self.size))
        groups = self.kv_heads
        both, value = projected.split([self.heads + groups, groups], 2)
        if self.query_norm is not None:
            both = self._normalised(both)
        if rotation is not None:
            both = rotate(both, rotation)
        query, key = both.split([self.heads, groups], 2)
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _normalised(self, both: Tensor) -> Tensor:
        """Queries and keys (b, t, h + g, d), with the features of each head scaled to root mean
        square 1 and multiplied by the gain."""
        gain = torch.cat(
            (
                self.query_norm.expand(self.heads, self.size),
                self.key_norm.expand(self.kv_heads, self.size),
            )
        )
        return (F.rms_norm(both, (self.size,), None, self.norm_eps) * gain).type_as(both)

    def _note_logits(self, query: Tensor, key: Tensor, run: ForwardPass) -> None:
        largest = largest_logits(query, key, run.visible)
        run.largest_logits.append(largest)
        if run.seen is not None:
            run.note("attention_logit_max_per_head", self.layer, largest)
            run.note("attention_logit_max", self.layer, largest.amax())


def attended(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / √d) V over visible pairs (by default causal): (b, h, t, d).

    query: (b, h, t, d), key and value: (b, g, t, d), visible as in `ForwardPass`.
    """
    heads = query.size(1)
    if key.size(1) != heads and query.device.type == "cpu":
        # The fused kernel for the CPU does not support shared heads, so they are repeated.
        key, value = (z.repeat_interleave(heads // z.size(1), 1) for z in (key, value))
    slow_gradient = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if slow_gradient and query.size(2) <= LONGEST_EXPLICIT:
        return _explicitly_attended(query, key, value, visible)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=visible,
        is_causal=visible is None,
        enable_gqa=key.size(1) != heads,
    )


def _explicitly_attended(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None
) -> Tensor:
    """`attended` by two products and a softmax in the dtype of the query, with b · h · t² logits in
    memory."""
    b, heads, length, size = query.shape
    if visible is None:
        visible = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    hidden = query.new_zeros(visible.shape).masked_fill(~visible, -math.inf)
    hidden = hidden.expand(b, heads, length, length).flatten(0, 1)
    query, key, value = (z.flatten(0, 1) for z in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        logits = torch.baddbmm(hidden, query, key.mT, alpha=1 / math.sqrt(size))
        return (logits.softmax(-1) @ value).unflatten(0, (b, heads))


@torch.no_grad()
def largest_logits(query: Tensor, key: Tensor, visible: Tensor | None) -> Tensor:
    """(h,) float32: each head's largest absolute logit |q · k| / √d among visible pairs.

    query: (b, h, t, d), key: (b, g, t, d), visible as in `ForwardPass`. Fused attention does not
    return its logits, so they are computed again, for some queries at a time, so that memory does
    not grow with t².
    """
    b, heads, length, size = query.shape
    key = key.repeat_interleave(heads // key.size(1), 1)
    rows = max(1, LOGITS_AT_ONCE // (b * heads * length))
    positions = torch.arange(length, device=query.device)
    largest = query.new_zeros(heads, dtype=torch.float32)
    for start in range(0, length, rows):
        end = min(start + rows, length)
        logits = (query[:, :, start:end] @ key[:, :, :end].mT).abs()
        if visible is None:
            hidden = positions[:end] > positions[start:end, None]
        else:
            hidden = ~visible[:, :, start:end, :end]
        logits = logits.masked_fill(hidden, 0)
        largest = torch.maximum(largest, logits.amax((0, 2, 3)).float())
    return largest / math.sqrt(size)
