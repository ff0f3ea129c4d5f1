"""Where a run's seconds go."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Clock:
    """Seconds over all attempts: in updates (with the processor's time, and the part of them in
    the optimizers' steps), in looking at the run (`watching`), and in all.

    `chunks` holds (updates, seconds, processor seconds) of the stretches between two stops.
    """

    updates: float = 0.0
    updates_cpu: float = 0.0
    optimizer: float = 0.0
    watching: float = 0.0
    total: float = 0.0
    chunks: list[list[float]] = field(default_factory=list)

    def __post_init__(self):
        self._started = time.perf_counter() - self.total

    def read(self) -> dict:
        """All of it as plain values, from which a clock goes on."""
        self.total = time.perf_counter() - self._started
        names = ("updates", "updates_cpu", "optimizer", "watching", "total", "chunks")
        return {name: getattr(self, name) for name in names}

    @contextmanager
    def stretch(self) -> Iterator[list[int]]:
        """Counts what is done inside as updates; the caller puts their number into the list."""
        started, started_cpu = time.perf_counter(), time.process_time()
        watched, made = self.watching, [0]
        self._watching_cpu = 0.0
        yield made
        seconds = time.perf_counter() - started - (self.watching - watched)
        cpu = time.process_time() - started_cpu - self._watching_cpu
        self.updates += seconds
        self.updates_cpu += cpu
        if made[0]:
            self.chunks.append([made[0], seconds, cpu])

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Counts what is done inside a stretch as watching, not as updates."""
        started, started_cpu = time.perf_counter(), time.process_time()
        yield
        self.watching += time.perf_counter() - started
        self._watching_cpu += time.process_time() - started_cpu

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Counts what is done inside as the optimizers' part of the updates."""
        started = time.perf_counter()
        yield
        self.optimizer += time.perf_counter() - started

    def step_seconds(self) -> tuple[float | None, float | None]:
        """The median seconds of an update and its processor seconds, without the first stretch,
        in which memory is taken and kernels are chosen; None where there was no other."""
        later = self.chunks[1:]
        if not later:
            return None, None
        return (
            median(seconds / count for count, seconds, _ in later),
            median(cpu / count for count, _, cpu in later),
        )
