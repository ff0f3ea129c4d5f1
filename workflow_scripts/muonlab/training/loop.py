"""The training loop: the only place where data, model, optimizers and records meet."""

import math
import time
from contextlib import nullcontext
from typing import Any, TextIO

import torch
from torch import Tensor

from muonlab.observers.components import ComponentMonitor
from muonlab.observers.events import EventLog, metric_scalars
from muonlab.observers.geometry import GeometryMonitor, copy_of, gradients_of
from muonlab.observers.progress import Throughput, postfix
from muonlab.optim.factory import build_optimizers
from muonlab.optim.routing import MovementCheck
from muonlab.training.build import build_model
from muonlab.training.checkpoint import Workspace
from muonlab.training.clock import Clock
from muonlab.training.record import Metrics
from muonlab.training.update import Update

MOVEMENT_UPDATES = 5  # updates after which every tensor that had a gradient must have moved


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""


class Trainer:
    """One run from its config to its final weights, from the start or from a checkpoint.

    `splits` are those of `build.build_splits`: objects with a length, `loss(model, indices)` and
    `evaluate(model, examples)`.
    """

    def __init__(
        self,
        config: dict,
        facts: dict,
        splits: dict[str, Any],
        workspace: Workspace,
        device: str = "cpu",
    ):
        self.config, self.splits, self.workspace, self.device = config, splits, workspace, device
        self.training = config["training"]
        self.model = build_model(config, facts).to(device)
        self.optimizers = build_optimizers(self.model, config["optimizer"])
        self.update = Update(config, self.model, self.optimizers, splits["train"], device)
        self.total = self.update.total
        self.metrics, self.clock = Metrics(), Clock()
        self.geometry: GeometryMonitor | None = None
        if self.training.get("geometry_every"):
            every = self.training["geometry_every"]
            self.geometry = GeometryMonitor(self.model, self.model.components(), every)
        self.components: ComponentMonitor | None = None
        if self.training.get("components_every"):
            self.components = ComponentMonitor(self.model, self.training["components_every"])
        self.can_watch = hasattr(self.model, "watching")
        self.keeps_updates = config["phase"] == "reporting"
        self.events, self.told = EventLog([]), 0  # rows of metrics that the log has
        self.throughput = Throughput()
        self.step = 0
        self.stopped_at: int | None = None
        self.stop_requested = False

    def resume(self) -> bool:
        """Takes up the workspace's checkpoint; whether there was one."""
        state = self.workspace.load()
        if state is None:
            return False
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.metrics = Metrics.from_json(state["metrics"])
        self.clock = Clock(**state["clock"])
        if self.geometry is not None:
            self.geometry.load_state_dict(state["geometry"])
        if self.components is not None:
            self.components.load_state_dict(state["components"])
        return True

    def save(self) -> None:
        self.workspace.save(
            {
                "step": self.step,
                "model": self.model.state_dict(),
                "optimizers": self.optimizers.state_dict(),
                "metrics": self.metrics.to_json(),
                "clock": self.clock.read(),
                "geometry": self.geometry.state_dict() if self.geometry else None,
                "components": self.components.state_dict() if self.components else None,
            }
        )

    def train(self, checkpoint_seconds: float, progress: TextIO | None = None) -> None:
        """Trains to the end, or until the loss is no longer finite.

        Saves a checkpoint every `checkpoint_seconds`; raises Interrupted, after saving one, when
        `stop_requested` is set (by a signal handler, say).
        """
        movement = MovementCheck(self.model) if self.step == 0 else None
        last_save = time.monotonic()
        with _bar(progress, self.step, self.total) as bar:
            while self.step < self.total and self.stopped_at is None:
                if self.stop_requested:
                    self.save()
                    raise Interrupted(f"stopped at step {self.step} of {self.total}")
                if time.monotonic() - last_save >= checkpoint_seconds:
                    self.save()
                    last_save = time.monotonic()
                self._watch()
                self._updates(self._next_stop(), movement)
                self._tell()
                if not bar.disable:  # it looks through all records
                    bar.set_postfix_str(self._postfix(), refresh=False)
                bar.update(self.step - bar.n)
        if self.stopped_at is None:
            self._watch(at_end=True)
            if "report" in self.splits:
                self.metrics.add(self.step, "report", **self._evaluate("report", None))
            if self.geometry is not None:
                self.geometry.finish(self.step, copy_of(self.model))

    def _next_stop(self) -> int:
        """The next step at which something other than an update is due."""
        every = self.training["log_every"]
        evaluation = self.training["eval_every"]
        following = min((self.step // n + 1) * n for n in (every, evaluation))
        return min(following, self.total)

    def _watch(self, at_end: bool = False) -> None:
        """Evaluates and takes a snapshot where they are due."""
        if self.step % self.training["eval_every"] == 0 or at_end:
            split = self.training["evaluate_on"]
            values = self._evaluate(split, self.training["evaluation_examples"])
            self.metrics.add(self.step, split, **values)
            if not math.isfinite(values["loss"]):
                self.stopped_at = self.step
        if self._snapshot_due() or at_end:
            self.workspace.snapshot(self.step, self.model)

    def _evaluate(self, split: str, examples: int | None) -> dict[str, float]:
        with self.update.autocast():
            return self.splits[split].evaluate(self.model, examples)

    def _snapshot_due(self) -> bool:
        return self.step % self.training["snapshot_every"] == 0

    def _updates(self, until: int, movement: MovementCheck | None) -> None:
        """Updates up to `until`; the first of them is recorded where that is due."""
        first = self.step
        with self.clock.stretch() as made:
            while self.step < until and not self.stop_requested and self.stopped_at is None:
                self._update(first)
                if movement is not None and self.step <= MOVEMENT_UPDATES:
                    movement.observe(self.model)
                    if self.step == min(MOVEMENT_UPDATES, self.total):
                        movement.verify(self.model)
            made[0] = self.step - first

    def _update(self, first: int) -> None:
        """One update; at the first of a stretch its loss and gradient are written down."""
        watched = self.components is not None and self.components.due(self.step)
        with self.model.watching() if watched and self.can_watch else nullcontext({}) as seen:
            loss = self.update.gradients(self.step, watched)
        if watched:
            with self.clock.aside():
                self.components.before_update()
        norm = self.update.clip()
        if self.step == first and first % self.training["log_every"] == 0:
            self._log(loss, self.update.gradient_norm() if norm is None else norm)
        self._observed_step()
        if watched:
            whole = {"lr_factor": self.update.lr_factor(self.step - 1)}
            with self.clock.aside():
                self.components.record(self.step - 1, seen, whole)

    def _log(self, loss: Tensor, norm: Tensor) -> None:
        value, gradient = torch.stack([loss.float(), norm.float()]).tolist()
        factor = self.update.lr_factor(self.step)
        self.metrics.add(self.step, "train", loss=value, gradient_norm=gradient, lr_factor=factor)
        if not math.isfinite(value):
            self.stopped_at = self.step

    def _step(self) -> None:
        with self.clock.stepping():
            self.update.apply(self.step)
        self.step += 1

    def _observed_step(self) -> None:
        """One step of the optimizers, measured where that is due, and kept where a snapshot is:
        the snapshot at step t has beside it the update that led there, W_t − W_{t−1}."""
        due = self.geometry is not None and self.geometry.due(self.step)
        following = self.step + 1
        last = following == self.total
        keep = self.keeps_updates and (following % self.training["snapshot_every"] == 0 or last)
        if not (due or keep):
            self._step()
            return
        with self.clock.aside():
            before = copy_of(self.model)
        self._step()
        with self.clock.aside():
            after = copy_of(self.model)
            if due:
                self.geometry.record(self.step - 1, before, after, gradients_of(self.model))
            if keep:
                update = {name: after[name] - before[name] for name in after}
                self.workspace.keep_update(self.step, update)

    def _tell(self) -> None:
        """Gives the event log the rows that it does not have."""
        self.events.replay(metric_scalars(self.metrics.rows[self.told :]))
        self.told = len(self.metrics.rows)

    def _postfix(self) -> str:
        """Loss, learning rate and speed, for the progress bar."""
        self.throughput.add(self.update.tokens(self.clock.chunks[-1][0]))
        losses, factors = (self.metrics.series("train", m)[-1:] for m in ("loss", "lr_factor"))
        lr = factors[0][1] * self.config["optimizer"]["lr"] if factors else None
        loss = losses[0][1] if losses else None
        return postfix(loss, lr, self.throughput.read(), self.splits["train"].unit)


def _bar(progress: TextIO | None, start: int, total: int):
    """A progress bar on `progress`, quiet where that is not a terminal."""
    from tqdm import tqdm

    quiet = progress is None or not progress.isatty()
    return tqdm(initial=start, total=total, file=progress, disable=quiet, leave=False, unit="step")
