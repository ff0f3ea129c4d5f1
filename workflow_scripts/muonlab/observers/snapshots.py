"""Snapshots of the weights that are kept while a run trains, each with the update that led to it.

A snapshot after t updates is one file: `weights/<name>` is W_t and, where updates are kept,
`update/<name>` is W_t − W_{t−1}. W_0 is never kept, since the run's seed decides it.
"""

import os
import shutil
from pathlib import Path

from torch import Tensor

from muonlab.hooks import Observer, Run, WatchedUpdate
from muonlab.io.tensors import write_tensors

FOLDER = "snapshots"


class Snapshots(Observer):
    """Snapshots in `folder`: one after every `every` of `total` updates (None: no such snapshots)
    and one at the end. A run that diverges also has one of the weights that it stopped with."""

    def __init__(self, folder: Path, total: int, every: int | None, updates: bool):
        self.folder, self.total, self.every = folder, total, every
        self.compares_weights = updates
        self.kept: list[int] = []

    def due(self, step: int) -> bool:
        made = step + 1
        return made == self.total or (self.every is not None and made % self.every == 0)

    def after_update(self, update: WatchedUpdate) -> None:
        if self.compares_weights:
            before, after = update.before, update.after
            moves = {name: after[name] - before[name] for name in after}
        else:
            after, moves = dict(update.model.named_parameters()), {}
        self._save(update.step + 1, after, moves)

    def finish(self, run: Run) -> None:
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
        return {"kept": list(self.kept)}

    def load_state_dict(self, state: dict) -> None:
        lost = [step for step in state["kept"] if not (self.folder / file_name(step)).exists()]
        if lost:
            raise ValueError(f"the snapshots of the steps {lost} are no longer in {self.folder}")
        self.kept = list(state["kept"])

    def _save(self, step: int, weights: dict[str, Tensor], moves: dict[str, Tensor]) -> None:
        write_tensors(self.folder / file_name(step), {"weights": weights, "update": moves})
        self.kept.append(step)


def file_name(step: int) -> str:
    return f"{step:08d}.safetensors"


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without hard links
        shutil.copy2(source, target)
