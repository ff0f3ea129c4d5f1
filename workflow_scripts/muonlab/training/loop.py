"""The training loop: the only place where data, model, optimizers and records meet."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import torch
from torch.nn.functional import cross_entropy

from muonlab.optim.factory import build_optimizers
from muonlab.optim.routing import MovementCheck
from muonlab.optim.schedules import lr_factor
from muonlab.training.build import build_batches, build_model
from muonlab.training.checkpoint import Workspace
from muonlab.training.evaluate import Images, evaluate
from muonlab.training.geometry import GeometryMonitor, copy_of, gradients_of
from muonlab.training.record import Metrics

MOVEMENT_UPDATES = 5  # updates after which every tensor that had a gradient must have moved


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass
class Clock:
    """Seconds spent in updates, in looking at them (geometry), and in all, over all attempts; of
    updates the processor time too."""

    updates: float = 0.0
    updates_cpu: float = 0.0
    geometry: float = 0.0
    total: float = 0.0

    def __post_init__(self):
        self._started = time.perf_counter() - self.total

    def read(self) -> dict[str, float]:
        self.total = time.perf_counter() - self._started
        read = ("updates", "updates_cpu", "geometry", "total")
        return {name: getattr(self, name) for name in read}

    @contextmanager
    def geometry_aside(self) -> Iterator[None]:
        """Counts what is done inside as geometry, and takes it off the updates around it."""
        started, started_cpu = time.perf_counter(), time.process_time()
        yield
        self.geometry += (spent := time.perf_counter() - started)
        self.updates -= spent
        self.updates_cpu -= time.process_time() - started_cpu


class Trainer:
    """One run from its config to its final weights, from the start or from a checkpoint."""

    def __init__(
        self,
        config: dict,
        facts: dict,
        splits: dict[str, Images],
        workspace: Workspace,
        device: str = "cpu",
    ):
        self.config, self.splits, self.workspace, self.device = config, splits, workspace, device
        self.training = config["training"]
        self.model = build_model(config, facts).to(device)
        self.optimizers = build_optimizers(self.model, config["optimizer"])
        self.batches = build_batches(config, len(splits["train"]))
        self.total = self.training["epochs"] * self.batches.per_epoch
        self.metrics, self.clock = Metrics(), Clock()
        self.geometry: GeometryMonitor | None = None
        if config["phase"] == "reporting":
            every = self.training["geometry_every"]
            self.geometry = GeometryMonitor(self.model, self.model.components(), every)
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
                bar.update(self.step - bar.n)
        if self.stopped_at is None:
            self._watch(at_end=True)
            if "report" in self.splits:
                self.metrics.add(self.step, "report", **evaluate(self.model, self.splits["report"]))
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
            values = evaluate(self.model, self.splits[split])
            self.metrics.add(self.step, split, **values)
            if not math.isfinite(values["loss"]):
                self.stopped_at = self.step
        if self._snapshot_due() or at_end:
            self.workspace.snapshot(self.step, self.model)

    def _snapshot_due(self) -> bool:
        return self.step % self.training["snapshot_every"] == 0

    def _updates(self, until: int, movement: MovementCheck | None) -> None:
        """Updates up to `until`; the loss of the first batch is recorded where that is due."""
        started, started_cpu = time.perf_counter(), time.process_time()
        first, loss = self.step, None
        while self.step < until and not self.stop_requested and self.stopped_at is None:
            batch_loss = self._update()
            loss = batch_loss if loss is None else loss
            if movement is not None and self.step <= MOVEMENT_UPDATES:
                movement.observe(self.model)
                if self.step == min(MOVEMENT_UPDATES, self.total):
                    movement.verify(self.model)
        if loss is not None and first % self.training["log_every"] == 0:
            value = loss.item()
            self.metrics.add(first, "train", loss=value)
            if not math.isfinite(value):
                self.stopped_at = first
        self.clock.updates += time.perf_counter() - started
        self.clock.updates_cpu += time.process_time() - started_cpu

    def _update(self) -> torch.Tensor:
        """One update; returns the loss of its batch, before the update."""
        indices = torch.from_numpy(self.batches.indices(self.step)).to(self.device)
        pixels, labels = self.splits["train"].batch(indices)
        loss = cross_entropy(self.model(pixels), labels)
        self.optimizers.zero_grad()
        loss.backward()
        self.optimizers.set_lr_factor(
            lr_factor(
                self.step,
                self.total,
                self.training["schedule"],
                self.training["warmup_steps"],
                self.training["final_lr_fraction"],
            )
        )
        if self.geometry is None:
            self.optimizers.step()
            self.step += 1
        else:
            self._observed_step(self.geometry)
        return loss.detach()

    def _observed_step(self, geometry: GeometryMonitor) -> None:
        """One step of the optimizers, measured where that is due, and kept where a snapshot is:
        the snapshot at step t has beside it the update that led there, W_t − W_{t−1}."""
        due = geometry.due(self.step)
        self.step += 1
        keep = self._snapshot_due() or self.step == self.total
        if not (due or keep):
            self.optimizers.step()
            return
        with self.clock.geometry_aside():
            before = copy_of(self.model)
        self.optimizers.step()
        with self.clock.geometry_aside():
            after = copy_of(self.model)
            if due:
                geometry.record(self.step - 1, before, after, gradients_of(self.model))
            if keep:
                update = {name: after[name] - before[name] for name in after}
                self.workspace.keep_update(self.step, update)


def _bar(progress: TextIO | None, start: int, total: int):
    """A progress bar on `progress`, quiet where that is not a terminal."""
    from tqdm import tqdm

    quiet = progress is None or not progress.isatty()
    return tqdm(initial=start, total=total, file=progress, disable=quiet, leave=False, unit="step")
