"""NorMuon: Muon whose update is normalised neuron by neuron.

Li, Liu, Liang, Chen and Zhao, NorMuon (arXiv 2510.05491): with O the orthogonalized momentum,
v ← β₂·v + (1 − β₂)·mean over columns of O∘O, one number per row (output neuron), and
Ô = O / (√v + ε), brought back to one root mean square, 0.2, by 0.2·√(mn)/‖Ô‖_F.
"""

import math

import torch
from torch import Tensor

from muonlab.optim.bundles import Bundle
from muonlab.optim.hyperparameters import Beta, Positive, optimizer
from muonlab.optim.iteration import frobenius
from muonlab.optim.muon import Muon
from muonlab.optim.scale import RMS, update_scale
from muonlab.optim.split import Split, blocks


@optimizer
class NorMuon(Muon):
    """Muon, then one second moment per row (state "second_moment", (…, out, 1)).

    With scale "match_rms_adamw" or "fixed_rms", which are the same here, every update has root mean
    square 0.2. With the other scales the normalisation keeps the Frobenius norm of Muon's update.
    For a split weight this holds for each block.
    """

    SHARDED = False

    beta2: Beta = 0.95
    """Decay rate of each neuron's second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""

    def bundle_scale(self, group: dict) -> str:
        return "none"

    def transform(self, whole: list[Tensor], bundle: Bundle, group: dict) -> None:
        shapes = [(*p.shape[:-1], 1) for p in whole]
        moments = [self.buffer(p, "second_moment", s) for p, s in zip(whole, shapes, strict=True)]
        for update, v in zip(bundle.results, bundle.pick(moments), strict=True):
            v.lerp_(update.square().mean(-1, keepdim=True), 1 - group["beta2"])
            normalise(update, v.sqrt().add_(group["eps"]), group["scale"], group["split"])


def normalise(update: Tensor, divisor: Tensor, scale: str, split: Split) -> None:
    """Divides `update` (…, m, n), then gives its blocks the size that Muon's update with `scale`
    has."""
    parts = blocks(update[None], split)
    sizes = [wanted_norm(part, scale) for part in parts]
    update.div_(divisor)
    for part, size in zip(parts, sizes, strict=True):
        part.mul_(size / frobenius(part))


def wanted_norm(update: Tensor, scale: str) -> Tensor | float:
    """The Frobenius norm that each matrix of `update` (k, m, n) gets: a number, or (k, 1, 1)."""
    m, n = update.shape[-2:]
    if scale in ("match_rms_adamw", "fixed_rms"):
        return RMS * math.sqrt(m * n)
    return update_scale(m, n, scale) * torch.linalg.matrix_norm(update, keepdim=True)
