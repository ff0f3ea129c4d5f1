"""The interface between the training loop and the observers that watch a run.

The loop imports this module but no observer, so editing an observer does not retrain runs. An
observer may read and copy, but must not change weights, gradients or the state of random numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


class Run(Protocol):
    """What an observer sees of a run between updates. `training.loop.Trainer` implements it."""

    step: int  # number of updates made so far
    total: int  # number of updates of the whole run
    stopped_at: int | None  # the step at which the loss stopped being finite, or None
    model: nn.Module
    metrics: Any  # training.metrics.Metrics
    clock: Any  # training.clock.Clock
    update: Any  # training.update.Update


@dataclass
class WatchedUpdate:
    """One update as its observers see it, from the weights W_step to W_{step+1}.

    If an observer has `watches_forward`, `forward` holds the values that the forward pass recorded.
    If one has `compares_weights`, `before` and `after` are copies of all weights.
    """

    step: int
    lr_factor: float
    model: nn.Module
    forward: Mapping = field(default_factory=dict)
    before: dict[str, Tensor] | None = None
    after: dict[str, Tensor] | None = None


class Observer:
    """Watches a run. This base class is never due and does nothing.

    The time that an observer takes does not count as training time. If it has `watches_forward`,
    the forward pass of the updates that it watches records values; it then does not use the
    compiled model.
    """

    watches_forward = False
    compares_weights = False

    def due(self, step: int) -> bool:
        """Whether to watch the update from W_step to W_{step+1}."""
        return False

    def before_clipping(self, update: WatchedUpdate) -> None:
        """Called when the parameters hold W_step and the gradient before clipping."""

    def after_update(self, update: WatchedUpdate) -> None:
        """Called when the parameters hold W_{step+1} and the clipped gradient."""

    def after_updates(self, run: Run) -> None:
        """Called after some updates, when `run.metrics` may have new rows."""

    def finish(self, run: Run) -> None:
        """Called at the end of the run, after its last evaluation."""

    def write(self, folder: Path) -> None:
        """Writes what was recorded into the folder `records` of the finished run."""

    def state_dict(self) -> dict:
        """The state to save in a checkpoint between two updates: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restores `state`. Raising any exception means that the observer cannot continue from
        it."""


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters as they are now."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}
