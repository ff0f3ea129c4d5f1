"""torch's AdamW for every tensor; tensors of one dimension are not decayed.

Loshchilov and Hutter, Decoupled weight decay regularization (arXiv 1711.05101).
"""

import torch

from muonlab.optim.hyperparameters import Beta, NotNegative, Positive, complete, optimizer


@optimizer
class AdamW(torch.optim.AdamW):
    """torch's own, fused. Which groups are decayed is the factory's choice."""

    weight_decay: NotNegative = 0.01
    """Decoupled weight decay."""
    beta1: Beta = 0.9
    """Decay rate of the first moment."""
    beta2: Beta = 0.999
    """Decay rate of the second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""

    def __init__(self, params, lr: float = 1e-3, **settings):
        settings = complete(AdamW, settings)
        betas = settings.pop("beta1"), settings.pop("beta2")
        super().__init__(params, lr, betas, fused=True, **settings)
