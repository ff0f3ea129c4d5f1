"""How a run is watched while it trains: what the training loop tells its observers.

The loop knows this module and no observer, so that no edit of an observer is one of what moves the
weights. An observer reads and copies; it changes neither weights nor gradients nor random numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


class Run(Protocol):
    """What an observer sees of the run between its updates: `training.loop.Trainer`."""

    step: int  # updates made
    total: int  # updates of the whole run
    stopped_at: int | None  # the step at which the loss was no longer finite
    model: nn.Module
    metrics: Any  # training.metrics.Metrics
    clock: Any  # training.clock.Clock
    update: Any  # training.update.Update


@dataclass
class WatchedUpdate:
    """One update as its observers see it, W_step before it and W_{step+1} after it.

    `forward` has what the forward pass showed of itself where an observer `watches_forward`;
    `before` and `after` are copies of all weights where one `compares_weights`.
    """

    step: int
    lr_factor: float
    model: nn.Module
    forward: Mapping = field(default_factory=dict)
    before: dict[str, Tensor] | None = None
    after: dict[str, Tensor] | None = None


class Observer:
    """Watches a run; by default it is never due and does nothing.

    What it does at an update does not count as time of the updates. One that `watches_forward` has
    the forward pass of its updates watched, which then does not go through a compiled model.
    """

    watches_forward = False
    compares_weights = False

    def due(self, step: int) -> bool:
        """Whether the update from W_step to W_{step+1} is to be watched."""
        return False

    def before_clipping(self, update: WatchedUpdate) -> None:
        """The parameters hold the gradient as the backward pass left it, and W_step."""

    def after_update(self, update: WatchedUpdate) -> None:
        """The parameters hold the clipped gradient, and W_{step+1}."""

    def after_updates(self, run: Run) -> None:
        """A stretch of updates is done, and `run.metrics` may have new rows."""

    def finish(self, run: Run) -> None:
        """The run is at its end, after its last evaluation."""

    def write(self, folder: Path) -> None:
        """Puts what was recorded into the folder `records` of the finished run."""

    def state_dict(self) -> dict:
        """For checkpoints, between two updates: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from `state`; whatever it raises means that it cannot."""


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters as they are now."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}
