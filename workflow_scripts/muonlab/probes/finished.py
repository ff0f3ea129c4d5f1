"""A finished run, opened for measurements: its model, its snapshots, its updates."""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from torch import Tensor, nn

from muonlab.io.tensors import read_tensors
from muonlab.training.build import build_model
from muonlab.tuning.selection import first_at_or_under


class Point(NamedTuple):
    """A named moment of a run. If a run did not reach the matched loss, `reached` is False for its
    matched point. That point is then its lowest loss, and no comparison may use it."""

    name: str
    step: int
    reached: bool


class FinishedRun:
    """The run that `training.run` wrote to `folder`, trained on the prepared data set in `data`.

    `steps` are those that have weights and an evaluation: 0, whose weights follow from the seed,
    and the snapshots. `last` is the last step; a run that diverged in an update has no evaluation
    there.
    """

    def __init__(self, folder: Path, data: Path):
        record = json.loads((folder / "run.json").read_text())
        self.folder, self.config, self.routes = folder, record["config"], record["routing"]
        self.facts = json.loads((data / "digest.json").read_text())
        self.last: int = record["summary"]["steps"]
        self.kept = sorted(int(file.stem) for file in self._snapshots.glob("*.safetensors"))
        self.losses = self._losses()
        self.steps = [step for step, _ in self.losses]
        self.components: dict[str, str] = self.model().components()

    @property
    def _snapshots(self) -> Path:
        return self.folder / "records" / "snapshots"

    def _losses(self) -> list[tuple[int, float]]:
        """(step, evaluated loss) at the start and at each snapshot that was evaluated, in order."""
        split, steps = self.config["training"]["evaluate_on"], {0, *self.kept}
        return [
            (row["step"], row["value"])
            for row in pq.read_table(self.folder / "metrics.parquet").to_pylist()
            if row["split"] == split and row["metric"] == "loss" and row["step"] in steps
        ]

    def model(self, weights: dict[str, Tensor] | None = None) -> nn.Module:
        """The model in evaluation mode, with its initial weights or the given ones."""
        model = build_model(self.config, self.facts)
        if weights is not None:
            model.load_state_dict(weights)
        return model.eval()

    def weights(self, step: int) -> dict[str, Tensor]:
        """The weights after `step` updates, of a snapshot or of the start."""
        if step == 0:
            # In the order of the names, as snapshots have them.
            return {name: p.detach() for name, p in sorted(self.model().named_parameters())}
        return self._kept(step, "weights")

    def matrices(self, step: int) -> dict[str, Tensor]:
        return {name: w for name, w in self.weights(step).items() if w.ndim >= 2}

    def update(self, step: int) -> dict[str, Tensor] | None:
        """W_step − W_{step−1} if it was kept, else None; there is none at the start."""
        return (self._kept(step, "update") if step in self.kept else None) or None

    def _kept(self, step: int, group: str) -> dict[str, Tensor]:
        return read_tensors(self._snapshots / f"{step:08d}.safetensors", group)

    def matched(self, target: float) -> dict:
        """The first of `steps` whose loss is at or under `target`: step, loss, reached and
        target_loss. If there is none, the step of the lowest loss, with reached False."""
        step, loss, reached = first_at_or_under(self.losses, target)
        record = {"step": step, "loss": None if math.isnan(loss) else loss, "reached": reached}
        return record | {"target_loss": target}

    def points(self, matched: dict) -> list[Point]:
        """Start, matched loss and end; the argument is a result of the method `matched`."""
        return [
            Point("start", 0, True),
            Point("matched", matched["step"], matched["reached"]),
            Point("end", self.last, True),
        ]

    def trajectory(self, count: int) -> list[int]:
        """At most `count` of `steps`, evenly spread, both ends included."""
        places = np.linspace(0, len(self.steps) - 1, min(count, len(self.steps)))
        return [self.steps[int(place)] for place in np.round(places)]
