"""NorMuon: Muon whose update is normalised neuron by neuron.

Li, Liu, Liang, Chen and Zhao, NorMuon (arXiv 2510.05491), algorithm 1: with O the orthogonalized
momentum, v ← β₂·v + (1 − β₂)·mean over columns of O∘O, one number per row (output neuron), and
Ô = O / (√v + ε), brought back to one root mean square, 0.2, by 0.2·√(mn)/‖Ô‖_F.
"""

import math

import torch
from torch import Tensor

from muonlab.optim import muon
from muonlab.optim.bundles import Bundle, update_scale
from muonlab.optim.iteration import frobenius

OWN = dict(beta2=0.95, eps=1e-8)
DEFAULTS = muon.DEFAULTS | OWN


class NorMuon(muon.Muon):
    """Muon, then one second moment per row (state "second_moment", (…, out, 1)).

    With scale "match_rms_adamw" every update has root mean square 0.2; with the other scales the
    normalisation keeps the Frobenius norm that Muon's update has. Arguments are `Muon`'s, and
    `beta2` in [0, 1) and `eps`.
    """

    OWN = OWN

    def bundle_scale(self, group: dict) -> str:
        return "none"

    def transform(self, whole: list[Tensor], bundle: Bundle, group: dict) -> None:
        shapes = [(*p.shape[:-1], 1) for p in whole]
        moments = [self.buffer(p, "second_moment", s) for p, s in zip(whole, shapes, strict=True)]
        for update, v in zip(bundle.results, bundle.pick(moments), strict=True):
            v.lerp_(update.square().mean(-1, keepdim=True), 1 - group["beta2"])
            normalise(update, v.sqrt().add_(group["eps"]), group["scale"])


def normalise(update: Tensor, divisor: Tensor, scale: str) -> None:
    """Divides `update` (…, m, n) and restores its size: that of `scale` on Muon's update."""
    m, n = update.shape[-2:]
    if scale == "match_rms_adamw":
        target: Tensor | float = 0.2 * math.sqrt(m * n)
    else:
        target = update_scale(m, n, scale) * torch.linalg.matrix_norm(update, keepdim=True)
    update.div_(divisor)
    update.mul_(target / frobenius(update))
