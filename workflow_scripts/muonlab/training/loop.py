"""The training loop: the only place where data, model and optimizer meet.

This module imports, directly or indirectly, all code that moves weights or decides a run's numbers,
and no other code: the digest of the training code covers this module and all that it imports
(`muonlab.digest`).
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from muonlab.hooks import Observer, WatchedUpdate, copy_of
from muonlab.optim.factory import build_optimizer
from muonlab.optim.routing import MovementCheck, freeze, manifest
from muonlab.training.build import build_model
from muonlab.training.clock import Clock
from muonlab.training.metrics import WHOLE, Metrics, summarise
from muonlab.training.team import NOTHING, SAVE, STOP, Team
from muonlab.training.update import Update

MOVEMENT_UPDATES = 5  # updates after which every tensor that had a gradient must have moved


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""


class Trainer:
    """One run from its config to its final weights, from the start or from a saved state.

    `splits` are those of `build.build_splits`: objects with a length, `loss(model, indices)` and
    `evaluate(model, examples, team)`. `observers` are called at each step and do not change the
    run. With a `team` of processes each has a trainer, and all of them make the same steps.
    """

    def __init__(
        self,
        config: dict,
        facts: dict,
        splits: dict[str, Any],
        device: str = "cpu",
        team: Team | None = None,
    ):
        self.team = team or Team()
        self.config, self.splits, self.device = config, splits, device
        self.training = config["training"]
        self.model = build_model(config, facts).to(device)
        freeze(self.model, self.training.get("frozen", ()))
        self.optimizer = build_optimizer(self.model, config["optimizer"])
        if hasattr(self.optimizer, "divide"):
            self.optimizer.divide(self.team)
        self.routes = manifest(self.model, self.optimizer)
        self.update = Update(config, self.model, self.optimizer, splits["train"], device, self.team)
        self.total = self.update.total
        self.metrics, self.clock = Metrics(), Clock()
        self.observers: Sequence[Observer] = ()
        self.can_watch = hasattr(self.model, "watching")
        self.step = 0
        self.stopped_at: int | None = None
        self.stop_requested = False

    def state_dict(self) -> dict:
        """Everything that the rest of the run depends on, as tensors and plain values."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metrics": self.metrics.to_json(),
            "clock": self.clock.read(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continues from `state`, which must be of the same run."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.metrics = Metrics.from_json(state["metrics"])
        self.clock = Clock(**state["clock"])

    def train(self, save: Callable[[], None], checkpoint_seconds: float) -> None:
        """Trains to the end, or until the loss is no longer finite.

        Calls `save` every `checkpoint_seconds`; raises Interrupted, after saving once more, when
        `stop_requested` is set (by a signal handler, say).
        """
        movement = MovementCheck(self.model) if self.step == 0 else None
        last_save = time.monotonic()
        while self.step < self.total and self.stopped_at is None:
            late = self.team.leads and time.monotonic() - last_save >= checkpoint_seconds
            wanted = self.team.agree(STOP if self.stop_requested else SAVE if late else NOTHING)
            if wanted != NOTHING:
                save()
                last_save = time.monotonic()
            if wanted == STOP:
                raise Interrupted(f"stopped at step {self.step} of {self.total}")
            if self.step % self.training["eval_every"] == 0:
                self._evaluate()
            self._updates(self._next_stop(), movement)
            for observer in self.observers:
                observer.after_updates(self)
        if self.stopped_at is None:
            self._evaluate()
            self._evaluate_at_the_end()
        for observer in self.observers:
            observer.finish(self)

    def summary(self) -> dict:
        """The finished run in one record."""
        parameters = sum(p.numel() for p in self.model.parameters())
        summary = summarise(self.config, self.metrics, self.step, self.stopped_at)
        return summary | {"parameters": parameters}

    def _next_stop(self) -> int:
        """The next step at which something other than an update is due."""
        every = (self.training["log_every"], self.training["eval_every"])
        return min(self.total, *((self.step // n + 1) * n for n in every))

    def _evaluate(self) -> None:
        """Evaluates the weights of this step, unless it is done: a resumed run may already have
        this evaluation in its state."""
        split = self.training["evaluate_on"]
        if self.metrics.last_step(split) == self.step:
            return
        values = self._values(split, self.training["evaluation_examples"])
        self.metrics.add(self.step, split, **values)
        if not math.isfinite(values["loss"]):
            self.stopped_at = self.step

    def _evaluate_at_the_end(self) -> None:
        """Evaluates the whole evaluation split and, in a reporting run, the test split."""
        split = self.training["evaluate_on"]
        whole = dict(self.metrics.last(split))
        if self.training["evaluation_examples"] is not None:
            whole = self._values(split, None)
        self.metrics.add(self.step, WHOLE, **whole)
        if not math.isfinite(whole["loss"]):
            self.stopped_at = self.step
        elif "report" in self.splits:
            self.metrics.add(self.step, "report", **self._values("report", None))

    def _values(self, split: str, examples: int | None) -> dict[str, float]:
        with self.update.autocast():
            return self.splits[split].evaluate(self.model, examples, self.team)

    def _updates(self, until: int, movement: MovementCheck | None) -> None:
        """Makes the updates up to `until`; the first of them is recorded if that is due."""
        first = self.step
        with self.clock.stretch() as made:
            while self.step < until and self.stopped_at is None and not self._stopping():
                self._update(first)
                if movement is not None and self.step <= MOVEMENT_UPDATES:
                    movement.observe(self.model)
                    if self.step == min(MOVEMENT_UPDATES, self.total):
                        movement.verify(self.model)
            made[0] = self.step - first

    def _stopping(self) -> bool:
        return self.team.agree(STOP if self.stop_requested else NOTHING) == STOP

    def _update(self, first: int) -> None:
        """Makes one update; for the first of a stretch, its loss and gradient norm are recorded."""
        step = self.step
        due = [observer for observer in self.observers if observer.due(step)]
        watched = WatchedUpdate(step, self.update.lr_factor(step), self.model)
        loss = self._gradients(due, watched)
        norm = self.update.clip()
        if step == first and step % self.training["log_every"] == 0:
            self._log(loss, self.update.gradient_norm() if norm is None else norm)
        self._step(due, watched)

    def _gradients(self, due: Sequence[Observer], watched: WatchedUpdate) -> Tensor:
        """The gradients of this step, and its loss."""
        forward = any(observer.watches_forward for observer in due)
        showing = self.model.watching() if forward and self.can_watch else nullcontext({})
        with showing as watched.forward:
            loss = self.update.gradients(self.step, watched=forward)
        if due:
            with self.clock.aside():
                for observer in due:
                    observer.before_clipping(watched)
        return loss

    def _log(self, loss: Tensor, norm: Tensor) -> None:
        value, gradient = torch.stack([loss.float(), norm.float()]).tolist()
        factor = self.update.lr_factor(self.step)
        self.metrics.add(self.step, "train", loss=value, gradient_norm=gradient, lr_factor=factor)
        if not math.isfinite(value):
            self.stopped_at = self.step

    def _step(self, due: Sequence[Observer], watched: WatchedUpdate) -> None:
        """Makes one step of the optimizer, and keeps the weights before and after it if an
        observer compares them."""
        compared = any(observer.compares_weights for observer in due)
        if compared:
            with self.clock.aside():
                watched.before = copy_of(self.model)
        with self.clock.stepping():
            self.update.apply(self.step)
        self.step += 1
        if due:
            with self.clock.aside():
                watched.after = copy_of(self.model) if compared else None
                for observer in due:
                    observer.after_update(watched)
