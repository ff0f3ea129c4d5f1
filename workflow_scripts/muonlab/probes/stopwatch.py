"""Seconds of the parts of an update, on a CPU or a GPU, and their names in a profiler's trace."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.profiler import record_function

from muonlab.training.update import Update

ORTHOGONALIZATION = "newton_schulz"


class Stopwatch:
    """Times named sections, which may be nested and repeated.

    On a GPU a section is timed by events on the current stream, which do not synchronise, so that
    measuring does not slow the code down. With `labels` on, each section is a range in a profiler's
    trace. On a CPU `clock` reads the time; `time.process_time` gives processor time.
    """

    def __init__(self, device: str):
        self.on_gpu, self.labels = device == "cuda", False
        self.clock: Callable[[], float] = time.perf_counter
        self._marks: list[tuple] = []

    @contextmanager
    def section(self, name: str, label: str = "") -> Iterator[None]:
        """Counts the time inside as `name`; the trace calls it `label`, by default `name`."""
        with record_function(label or name) if self.labels else nullcontext():
            start = self._now()
            yield
            self._marks.append((name, start, self._now()))

    def timed(self, function: Callable, name: str, label: str = "") -> Callable:
        """`function`, wrapped so that each call is a section."""

        def call(*arguments, **named):
            with self.section(name, label):
                return function(*arguments, **named)

        return call

    def read(self) -> dict[str, float]:
        """Seconds of each section since the last call, including nested sections."""
        if self.on_gpu:
            torch.cuda.synchronize()
        seconds: dict[str, float] = defaultdict(float)
        for name, start, end in self._marks:
            seconds[name] += start.elapsed_time(end) / 1e3 if self.on_gpu else end - start
        self._marks = []
        return dict(seconds)

    def _now(self):
        if not self.on_gpu:
            return self.clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class TimedUpdate(Update):
    """An `Update` that also times its parts: `data`, `forward`, `backward`, `clip`, `optimizer`,
    within that `newton_schulz` (any method of orthogonalization), and the whole as `step`.

    `split` must be the update's own, since its `batch` is replaced.
    """

    def __init__(self, config: dict, model: nn.Module, optimizer: Optimizer, split, device: str):
        super().__init__(config, model, optimizer, split, device)
        self.watch = Stopwatch(device)
        split.batch = self.watch.timed(split.batch, "data")

    def step(self, step: int) -> None:
        """The update `step`, as the training loop makes it."""
        with self.watch.section("step"):
            self.gradients(step)
            with self.watch.section("clip"):
                self.clip()
            with self.watch.section("optimizer"):
                self.apply(step)

    def forward_pass(self, part: np.ndarray, watched: bool) -> tuple[Tensor, Tensor]:
        with self.watch.section("forward"):
            return super().forward_pass(part, watched)

    def backward_pass(self, objective: Tensor) -> None:
        with self.watch.section("backward"):
            super().backward_pass(objective)

    def time_orthogonalization(self) -> None:
        """Starts timing `newton_schulz`. Call it once, after a first step, which makes the bundles
        that are timed."""
        for bundle in getattr(self.optimizer, "bundles", []):
            if bundle.orthogonalizes:
                label = f"{ORTHOGONALIZATION} {_shapes(bundle.sources)}"
                bundle.run = self.watch.timed(bundle.run, ORTHOGONALIZATION, label)

    def seconds(self) -> dict[str, float]:
        """Seconds of the parts since the last call. They do not overlap, except that `step`
        contains all others and `optimizer` contains `newton_schulz`; `rest` is the time of a step
        outside all parts."""
        parts = {"newton_schulz": 0.0, "data": 0.0, "clip": 0.0} | self.watch.read()
        parts["forward"] -= parts["data"]
        known = ("data", "forward", "backward", "clip", "optimizer")
        return parts | {"rest": parts["step"] - sum(parts[name] for name in known)}


def _shapes(sources: list[Tensor]) -> str:
    shapes = ["x".join(map(str, source.shape)) for source in sources]
    return ", ".join(f"{shapes.count(shape)} of {shape}" for shape in dict.fromkeys(shapes))
