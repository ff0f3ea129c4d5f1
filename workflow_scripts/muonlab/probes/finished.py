"""A finished run, opened for measurements: its model, its snapshots, its updates."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from torch import Tensor, nn

from muonlab.data.tokenizer import Encoder, read_tokenizer
from muonlab.io.tensors import read_tensors
from muonlab.measure.ladder import rungs_passed, thinned
from muonlab.training.build import build_model


class Place(NamedTuple):
    """A moment of a run at which its weights are measured.

    `point` is start, rung or end; `rung` is the lowest rung of the ladder that the evaluation at
    this step passed, None if it passed none; `loss` is that evaluation's, None if there was none,
    as where a run diverged in an update.
    """

    point: str
    step: int
    rung: int | None
    loss: float | None


class FinishedRun:
    """The run that `training.run` wrote to `folder`, trained on the prepared data set in `data`.

    `kept` are the steps of its snapshots, `losses` all its evaluations (step, loss) in order.
    `last` is the last step; a run that diverged in an update has no evaluation there.
    """

    def __init__(self, folder: Path, data: Path):
        record = json.loads((folder / "run.json").read_text())
        self.folder, self.config, self.routes = folder, record["config"], record["routing"]
        self.facts = json.loads((data / "digest.json").read_text())
        self.data = data
        self.last: int = record["summary"]["steps"]
        self.kept = sorted(int(file.stem) for file in self._snapshots.glob("*.safetensors"))
        self.losses = self._losses()
        self.components: dict[str, str] = self.model().components()

    @property
    def _snapshots(self) -> Path:
        return self.folder / "records" / "snapshots"

    def _losses(self) -> list[tuple[int, float]]:
        split = self.config["training"]["evaluate_on"]
        return [
            (row["step"], row["value"])
            for row in pq.read_table(self.folder / "metrics.parquet").to_pylist()
            if row["split"] == split and row["metric"] == "loss"
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

    @cached_property
    def _tokenizer(self) -> Encoder:
        """The tokenizer of the run's text."""
        file = self.data / "tokenizer.json"
        return Encoder(read_tokenizer(file), str(file))

    @property
    def end_of_text(self) -> int:
        return self._tokenizer.end_of_text

    def encoder(self) -> Callable[[str], list[int]]:
        """A function that turns text into the numbers of its tokens, for runs on text."""
        tokenizer = self._tokenizer.tokenizer
        return lambda text: tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: list[int]) -> str:
        return self._tokenizer.tokenizer.decode(tokens, skip_special_tokens=False)

    def matrices(self, step: int) -> dict[str, Tensor]:
        return {name: w for name, w in self.weights(step).items() if w.ndim >= 2}

    def update(self, step: int) -> dict[str, Tensor] | None:
        """W_step − W_{step−1} if it was kept, else None; there is none at the start."""
        return (self._kept(step, "update") if step in self.kept else None) or None

    def _kept(self, step: int, group: str) -> dict[str, Tensor]:
        return read_tensors(self._snapshots / f"{step:08d}.safetensors", group)

    def places(self, along: int) -> list[Place]:
        """The start, at most `along` snapshots at which rungs were passed, and the end, in order.

        Which rungs are left out depends on their numbers alone (`measure.ladder.thinned`).
        """
        passed = rungs_passed(self.losses, self.config["training"]["rung_ratio"])
        kept = {step: rungs for step, rungs in passed.items() if step in self.kept}
        between = {step: rungs for step, rungs in kept.items() if step != self.last}
        steps = [0, *thinned(between, along), self.last]
        names = ["start", *["rung"] * (len(steps) - 2), "end"]
        losses = dict(self.losses)
        return [
            Place(name, step, passed[step].start if step in passed else None, losses.get(step))
            for name, step in zip(names, steps, strict=True)
        ]
