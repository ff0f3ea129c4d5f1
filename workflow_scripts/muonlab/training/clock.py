"""The seconds of a run, divided into its parts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Clock:
    """Seconds over all attempts: in updates (also as processor time, and the part of them in the
    optimizers' steps), in evaluating and recording (`watching`), and in total.

    `chunks` holds (updates, seconds, processor seconds) of each stretch between two stops.
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
        """All of it as plain values, from which another clock can continue."""
        self.total = time.perf_counter() - self._started
        names = ("updates", "updates_cpu", "optimizer", "watching", "total", "chunks")
        return {name: getattr(self, name) for name in names}

    @contextmanager
    def stretch(self) -> Iterator[list[int]]:
        """Counts the time inside as updates; the caller writes their number into the list."""
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
        """Counts the time inside, within a stretch, as watching and not as updates."""
        started, started_cpu = time.perf_counter(), time.process_time()
        yield
        self.watching += time.perf_counter() - started
        self._watching_cpu += time.process_time() - started_cpu

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Counts the time inside as the optimizers' part of the updates."""
        started = time.perf_counter()
        yield
        self.optimizer += time.perf_counter() - started

    def step_seconds(self) -> tuple[float | None, float | None]:
        """The median seconds and processor seconds of an update. The first stretch, in which memory
        is allocated and kernels are chosen, does not count; None if there was no other."""
        later = self.chunks[1:]
        if not later:
            return None, None
        return (
            median(seconds / count for count, seconds, _ in later),
            median(cpu / count for count, _, cpu in later),
        )
