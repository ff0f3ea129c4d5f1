"""MuonClip: Muon with attention logits that are clipped through their weights; needs attention.

Kimi Team, Kimi K2 (arXiv 2507.20534), QK-clip: after an update, every head whose
largest attention logit S exceeded a threshold τ has its query and key weights shrunk, by γ^½ each
with γ = τ/S, so that the same input would give τ. A key that several query heads share is not
changed and its queries take all of γ, as the paper does with its shared rotary key.
"""

import torch
from torch import Tensor, nn

from muonlab.optim.hyperparameters import Positive, optimizer
from muonlab.optim.muon import Muon


@optimizer
class MuonClip(Muon):
    """Muon, then `qk_clip_` on what `targets()` gives.

    `targets` is the model's `qk_clip_targets`, which `attach` takes: it yields, for each attention
    layer, its query weight (heads · d, in), its key weight (key heads · d, in) and the largest
    absolute logit of each head in the last forward pass (heads,). Without it this is Muon.
    """

    SHARDED = False

    targets = None  # not a setting, since it has no type annotation

    threshold: Positive = 100.0
    """Largest attention logit that is not clipped."""

    def attach(self, model: nn.Module) -> None:
        """Takes the model's `qk_clip_targets`, and tells it by `track_logits` to keep each head's
        largest logit. Raises ValueError for a model without attention logits."""
        if not hasattr(model, "qk_clip_targets"):
            raise ValueError(
                "optimizer.name: muonclip needs a model with attention (its `qk_clip_targets` "
                "gives query and key weights with their largest logits)"
            )
        super().attach(model)
        if hasattr(model, "track_logits"):
            model.track_logits = True  # the model finds the largest logits only if this is set
        self.targets = model.qk_clip_targets

    @torch.no_grad()
    def step(self, closure=None):
        """One update and one clip; returns the closure's loss."""
        loss = super().step(closure)
        threshold = self.matrix_groups[0]["threshold"]
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
