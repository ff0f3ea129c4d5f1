"""What watching costs: the seconds that an observer takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Cost:
    """Seconds inside `spent`, over all attempts of a run.

    A GPU works on after its calls return, so the device is waited for at both ends; a record ends
    in decompositions that wait for it anyway.
    """

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, 0.0

    @contextmanager
    def spent(self) -> Iterator[None]:
        self._wait()
        started = time.perf_counter()
        yield
        self._wait()
        self.seconds += time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
