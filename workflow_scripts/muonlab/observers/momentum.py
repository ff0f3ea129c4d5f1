"""The momentum of each tensor, from the state of the optimizers that train a run."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

# The names of the first moment in the states of our optimizers and of torch's.
NAMES = ("momentum_buffer", "exp_avg", "momentum")


def momentum_of(model: nn.Module, optimizers: Iterable[Optimizer]) -> dict[str, Tensor]:
    """The first moment of each parameter of `model` that has one, by its name; not copied.

    A parameter without one is left out: before its first update, where it is frozen, and under an
    optimizer without momentum.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for optimizer in optimizers:
        for p, state in optimizer.state.items():
            moments = [state[name] for name in NAMES if isinstance(state.get(name), Tensor)]
            if moments and moments[0].shape == p.shape and id(p) in names:
                found[names[id(p)]] = moments[0].detach()
    return {name: found[name] for name in names.values() if name in found}
