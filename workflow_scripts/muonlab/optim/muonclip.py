"""MuonClip: Muon, and attention logits that cannot run away.

Kimi Team, Kimi K2 (arXiv 2507.20534), QK-clip: after an update, every head whose
largest attention logit S exceeded a threshold τ has its query and key weights shrunk, by γ^½ each
with γ = τ/S, so that the same input would give τ. A key that several query heads share is left as
it is and its queries take all of γ, as the paper does with its shared rotary key.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from muonlab.optim import muon

DEFAULTS = muon.DEFAULTS | dict(threshold=100.0)

# Query weight (heads · d, in), key weight (key heads · d, in), largest logits (heads,).
Target = tuple[Tensor, Tensor, Tensor]


class MuonClip(muon.Muon):
    """Muon, then `qk_clip_` on what `targets()` gives.

    `targets` is set after construction (`factory` takes the model's `qk_clip_targets`): it yields,
    for each attention layer, its query and key weights and the largest absolute logit of each head
    in the last forward pass. Without it this is Muon. Arguments are `Muon`'s and `threshold` > 0.
    """

    FIELDS = DEFAULTS
    targets: Callable[[], Iterable[Target]] | None = None

    @torch.no_grad()
    def step(self, closure=None):
        """One update and one clip; returns the closure's loss."""
        loss = super().step(closure)
        threshold = self.param_groups[0]["threshold"]
        for query, key, largest in self.targets() if self.targets else ():
            qk_clip_(query, key, largest, threshold)
        return loss


@torch.no_grad()
def qk_clip_(query: Tensor, key: Tensor, largest: Tensor, threshold: float) -> None:
    """Shrinks, in place, the rows of each head whose largest logit is above the threshold.

    query: (heads · d, in), key: (key heads · d, in), key heads dividing heads; largest: (heads,),
    the largest absolute logits. Raises ValueError where the shapes do not fit.
    """
    heads = largest.numel()
    rows = query.size(0) // heads
    key_heads = key.size(0) // rows
    if query.size(0) != heads * rows or key.size(0) != key_heads * rows or heads % key_heads:
        raise ValueError(
            f"qk_clip: {heads} heads do not fit a query weight of {query.size(0)} rows and a key "
            f"weight of {key.size(0)}"
        )
    gamma = (threshold / largest.clamp_min(threshold)).to(query.dtype)
    if key_heads == heads:
        gamma = gamma.sqrt()
        key.view(heads, rows, -1).mul_(gamma[:, None, None])
    query.view(heads, rows, -1).mul_(gamma[:, None, None])
