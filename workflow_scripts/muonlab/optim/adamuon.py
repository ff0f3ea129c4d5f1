"""AdaMuon: Muon whose update is normalised entry by entry.

Si, Zhang and Shen, AdaMuon (arXiv 2507.11005): O is the orthogonalized *sign* of the momentum,
V ← β·V + (1 − β)·O∘O, Ô = O / (√V + ε), brought to root mean square 0.2 by 0.2·√(mn)/‖Ô‖_F. β is
the momentum's.
"""

import torch
from torch import Tensor

from muonlab.optim.bundles import Bundle
from muonlab.optim.hyperparameters import Beta, Positive, optimizer
from muonlab.optim.muon import Muon
from muonlab.optim.normuon import normalise


@optimizer
class AdaMuon(Muon):
    """Muon, then one second moment per entry (state "second_moment", the parameter's shape).

    `sign` takes the sign of the momentum before it is orthogonalized, as the paper's final version
    does. Scales as in `NorMuon`.
    """

    SHARDED = False

    beta2: Beta = 0.95
    """Decay rate of each entry's second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    sign: bool = True
    """Whether the sign of the momentum is orthogonalized."""

    def bundle_scale(self, group: dict) -> str:
        return "none"

    def prepare(self, bundle: Bundle, group: dict) -> None:
        if group["sign"]:
            torch._foreach_sign_(bundle.sources)

    def transform(self, whole: list[Tensor], bundle: Bundle, group: dict) -> None:
        moments = [self.buffer(p, "second_moment", p.shape) for p in whole]
        for update, v in zip(bundle.results, bundle.pick(moments), strict=True):
            v.lerp_(update.square(), 1 - group["beta2"])
            normalise(update, v.sqrt().add_(group["eps"]), group["scale"], group["split"])
