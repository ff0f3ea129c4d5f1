"""Snapshots of the weights that are kept while a run trains, each with the update that led to it.

A snapshot after t updates is one file: `weights/<name>` is W_t and, where updates are kept,
`update/<name>` is W_t − W_{t−1}. W_0 is never kept, since the run's seed decides it.
"""

import os
import shutil
from pathlib import Path

from torch import Tensor

from muonlab.hooks import Observer, Run, WatchedUpdate, copy_of
from muonlab.io.tensors import write_tensors
from muonlab.measure.ladder import rungs_passed

FOLDER = "snapshots"


class Snapshots(Observer):
    """Snapshots in `folder`: one at the end and, if `training` (that section of the run's config)
    is given, one at each evaluation that passes a rung of the ladder of losses and one after every
    `snapshot_every` updates. A run that diverges also has one of the weights that it stopped with.

    The loss of an evaluation is known only after the update that led to it. Until then that
    update's weights wait in memory.
    """

    def __init__(self, folder: Path, total: int, updates: bool, training: dict | None):
        self.folder, self.total, self.training = folder, total, training
        self.compares_weights = updates
        self.kept: list[int] = []
        self.waiting: dict[int, dict[str, dict[str, Tensor]]] = {}

    def due(self, step: int) -> bool:
        made = step + 1
        evaluated = self.training is not None and made % self.training["eval_every"] == 0
        return self._always(made) or evaluated

    def after_update(self, update: WatchedUpdate) -> None:
        if self.compares_weights:
            before, after = update.before, update.after
            moves = {name: after[name] - before[name] for name in after}
        else:
            after, moves = copy_of(update.model), {}
        made = update.step + 1
        if self._always(made):
            self._save(made, after, moves)
        else:
            self.waiting[made] = {"weights": after, "update": moves}

    def after_updates(self, run: Run) -> None:
        """Keeps the waiting weights that passed a rung, and forgets the others."""
        if not self.waiting:
            return
        losses = run.metrics.series(self.training["evaluate_on"], "loss")
        evaluated = {step for step, _ in losses}
        passed = rungs_passed(losses, self.training["rung_ratio"])
        for step in [step for step in self.waiting if step in evaluated]:
            found = self.waiting.pop(step)
            if step in passed:
                self._save(step, found["weights"], found["update"])

    def finish(self, run: Run) -> None:
        self.waiting = {}
        if run.step not in self.kept:
            self._save(run.step, dict(run.model.named_parameters()), {})

    def write(self, folder: Path) -> None:
        """Hard-links the snapshots, so that an attempt that is killed here loses nothing."""
        target = folder / FOLDER
        target.mkdir()
        for step in self.kept:
            name = file_name(step)
            _link_or_copy(self.folder / name, target / name)

    def state_dict(self) -> dict:
        return {"kept": list(self.kept), "waiting": self.waiting}

    def load_state_dict(self, state: dict) -> None:
        lost = [step for step in state["kept"] if not (self.folder / file_name(step)).exists()]
        if lost:
            raise ValueError(f"the snapshots of the steps {lost} are no longer in {self.folder}")
        self.kept, self.waiting = list(state["kept"]), dict(state["waiting"])

    def _always(self, made: int) -> bool:
        """Whether the weights after `made` updates are kept whatever their loss is."""
        every = self.training["snapshot_every"] if self.training is not None else None
        return made == self.total or (every is not None and made % every == 0)

    def _save(self, step: int, weights: dict[str, Tensor], moves: dict[str, Tensor]) -> None:
        write_tensors(self.folder / file_name(step), {"weights": weights, "update": moves})
        self.kept = sorted({*self.kept, step})


def file_name(step: int) -> str:
    return f"{step:08d}.safetensors"


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without hard links
        shutil.copy2(source, target)
