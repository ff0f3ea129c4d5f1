"""Spectral descent: the orthogonalized gradient, without momentum.

Carlson, Cevher and Carin, Stochastic spectral descent (AISTATS 2015); Bernstein and Newhouse, Old
optimizer, new norm (arXiv 2409.20325): among all updates of spectral norm 1, UVᵀ of the gradient
UΣVᵀ lowers the linearised loss most. The paper's further factor, the gradient's
nuclear norm, is left to the learning rate, as in Muon.
"""

from typing import Final

from muonlab.optim.hyperparameters import optimizer
from muonlab.optim.muon import Muon


@optimizer
class Spectral(Muon):
    """`Muon` with momentum 0; its other settings are Muon's."""

    momentum: Final = 0.0
    nesterov: Final = False
