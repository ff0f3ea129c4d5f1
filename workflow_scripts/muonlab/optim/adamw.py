"""torch's AdamW for every tensor; tensors of one dimension are not decayed.

Loshchilov and Hutter, Decoupled weight decay regularization (arXiv 1711.05101).
"""

import torch

from muonlab.optim.hyperparameters import Betas, NotNegative, Positive, complete, optimizer


@optimizer
class AdamW(torch.optim.AdamW):
    """torch's own, fused. Which groups are decayed is the factory's choice."""

    weight_decay: NotNegative = 0.01
    """Decoupled weight decay."""
    betas: Betas = [0.9, 0.999]
    """Decay rates of the first and second moments."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""

    def __init__(self, params, lr: float = 1e-3, **settings):
        super().__init__(params, lr, fused=True, **complete(AdamW, settings))
