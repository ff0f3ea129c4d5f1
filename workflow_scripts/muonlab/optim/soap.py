"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade, SOAP (arXiv 2409.11321):
L ← β·L + (1 − β)·GGᵀ, R ← β·R + (1 − β)·GᵀG, with eigenvectors Q_L and Q_R; the second moment V is
that of the rotated gradient Q_LᵀGQ_R, and the update is Q_L (M' / (√V + ε)) Q_Rᵀ with M' the
rotated first moment, both with Adam's bias correction. Every `frequency` updates the eigenvectors
take one step of orthogonal iteration.
"""

import torch
from torch import Tensor

from muonlab.optim.hyperparameters import Beta, Count, NotNegative, Positive, optimizer
from muonlab.optim.matrix_optimizer import MatrixOptimizer


@optimizer
class SOAP(MatrixOptimizer):
    """SOAP for matrices (out, in) and stacks of them; weight decay is decoupled.

    A side longer than `max_side` is not rotated (its eigenbasis is left at the identity and takes
    no memory). The first gradient sets the first eigenbasis and moves nothing, as in the authors'
    code: in its own eigenbasis it is diagonal, and Adam would scale the rounding errors beside the
    diagonal up to full steps.
    """

    HALF_WEIGHTS = False

    weight_decay: NotNegative = 0.01
    """Decoupled weight decay."""
    beta1: Beta = 0.95
    """Decay rate of the first moment."""
    beta2: Beta = 0.95
    """Decay rate of the second moment and of the preconditioner."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    frequency: Count = 10
    """Updates between steps of the eigenbasis."""
    max_side: Count = 4096
    """Longer sides are not rotated."""

    def update(self, p: Tensor, group: dict) -> None:
        state, lr = self.state[p], float(group["lr"])
        beta1, beta2 = group["beta1"], group["beta2"]
        if not state:
            self._begin(p, group)
            return
        state["step"] += 1
        grad = p.grad
        state["first"].lerp_(grad, 1 - beta1)
        state["second"].lerp_(self._rotate(grad, state).square_(), 1 - beta2)
        steps = int(state["step"])
        root = (state["second"] / (1 - beta2**steps)).sqrt_().add_(group["eps"])
        rotated = self._rotate(state["first"], state).div_(1 - beta1**steps).div_(root)
        p.mul_(1 - lr * group["weight_decay"])
        p.add_(self._rotate(rotated, state, back=True), alpha=-lr)
        self._learn(grad, state, beta2, steps % group["frequency"] == 0)

    def _begin(self, p: Tensor, group: dict) -> None:
        state = self.state[p]
        # On the CPU, as in torch's own optimizers, so that reading it needs no synchronisation.
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["first"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
        state["second"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
        for side, name in ((-2, "left"), (-1, "right")):
            if p.size(side) <= group["max_side"]:
                state[name] = (1 - group["beta2"]) * _gram(p.grad, side)
                state[f"{name}_basis"] = torch.linalg.eigh(state[name]).eigenvectors.flip(-1)

    @staticmethod
    def _rotate(X: Tensor, state: dict, back: bool = False) -> Tensor:
        """X in the eigenbasis, or back from it; a new tensor."""
        X = X.clone()
        if "left_basis" in state:
            X = (state["left_basis"] if back else state["left_basis"].mT) @ X
        if "right_basis" in state:
            X = X @ (state["right_basis"].mT if back else state["right_basis"])
        return X

    @staticmethod
    def _learn(grad: Tensor, state: dict, beta: float, refresh: bool) -> None:
        """Updates the preconditioner and, with `refresh`, its eigenbasis by one iteration."""
        for side, name in ((-2, "left"), (-1, "right")):
            if name in state:
                state[name].lerp_(_gram(grad, side), 1 - beta)
                if refresh:
                    basis = state[f"{name}_basis"]
                    basis.copy_(torch.linalg.qr(state[name] @ basis).Q)


def _gram(G: Tensor, side: int) -> Tensor:
    return G @ G.mT if side == -2 else G.mT @ G
