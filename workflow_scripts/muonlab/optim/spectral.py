"""Spectral descent: Muon without memory.

Carlson, Cevher and Carin, Stochastic spectral descent (AISTATS 2015); Bernstein and Newhouse, Old
optimizer, new norm (arXiv 2409.20325): among all updates of spectral norm 1, UVᵀ of the gradient
UΣVᵀ lowers the linearised loss most. The paper's further factor, the gradient's
nuclear norm, is left to the learning rate, as in Muon.
"""

from muonlab.optim import muon

DEFAULTS = {k: v for k, v in muon.DEFAULTS.items() if k not in ("momentum", "nesterov")}


class SpectralDescent(muon.Muon):
    """`Muon` with momentum 0; its other arguments are Muon's."""

    def __init__(self, params, lr: float = 1e-3, **others):
        super().__init__(params, lr, momentum=0.0, nesterov=False, **others)
