"""A finished run, opened again to be measured: its model, its snapshots, its updates."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.torch import load_file
from torch import Tensor, nn

from muonlab.training.build import build_model


class Point(NamedTuple):
    """A moment of a run that has a name. `reached` is False for a matched point of a run that never
    came to the matched loss: it then stands at the lowest loss, and no comparison may use it."""

    name: str
    step: int
    reached: bool


class FinishedRun:
    """The run that `training.run` left in `folder`, trained on the prepared data set in `data`."""

    def __init__(self, folder: Path, data: Path):
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self.facts = json.loads((data / "digest.json").read_text())
        self.last = json.loads((folder / "summary.json").read_text())["steps"]
        self.steps = sorted(int(file.stem) for file in (folder / "snapshots").glob("*.safetensors"))
        self.components = self.model().components()

    def model(self, weights: dict[str, Tensor] | None = None) -> nn.Module:
        """The model in evaluation mode, with its initial weights or the given ones."""
        model = build_model(self.config, self.facts)
        if weights is not None:
            model.load_state_dict(weights)
        return model.eval()

    def weights(self, step: int) -> dict[str, Tensor]:
        """The weights after `step` updates: of a snapshot, or the final ones."""
        if step == self.last:
            return load_file(self.folder / "weights.safetensors")
        return load_file(self.folder / "snapshots" / f"{step:08d}.safetensors")

    def matrices(self, step: int) -> dict[str, Tensor]:
        return {name: w for name, w in self.weights(step).items() if w.ndim >= 2}

    def update(self, step: int) -> dict[str, Tensor] | None:
        """W_step − W_{step−1} where it was kept; there is none at the start."""
        path = self.folder / "updates" / f"{step:08d}.safetensors"
        return load_file(path) if path.exists() else None

    def points(self, matched: dict) -> list[Point]:
        """Start, matched loss and end; `matched` is the run's record of `match_loss`."""
        return [
            Point("start", 0, True),
            Point("matched", matched["step"], matched["reached"]),
            Point("end", self.last, True),
        ]

    def trajectory(self, count: int) -> list[int]:
        """At most `count` of the steps that have a snapshot, evenly spread, both ends included."""
        places = np.linspace(0, len(self.steps) - 1, min(count, len(self.steps)))
        return [self.steps[int(place)] for place in np.round(places)]
