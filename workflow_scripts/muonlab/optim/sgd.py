"""torch's stochastic gradient descent for every tensor; one-dimensional ones do not decay."""

import torch

from muonlab.optim.hyperparameters import Beta, NotNegative, complete, optimizer


@optimizer
class SGD(torch.optim.SGD):
    """torch's own; its weight decay enters the gradient and is not decoupled."""

    momentum: Beta = 0.9
    """Momentum; 0 turns it off."""
    nesterov: bool = False
    """Whether the update looks one gradient ahead."""
    weight_decay: NotNegative = 0.0
    """Weight decay, added to the gradient."""

    def __init__(self, params, lr: float = 1e-3, **settings):
        super().__init__(params, lr, **complete(SGD, settings))
