"""How slow this machine is beside the one on which the times of short jobs were measured.

Updates of small models and jobs of a second are not bound by floating-point operations but by the
interpreter and by calls of small operations, so a rate in FLOP/s says little about them. A probe of
such work, timed here and known there, scales their times.
"""

import time
from functools import cache

REFERENCE = 0.0035  # seconds of the probe on the machine of the stated times
PROBES = 30
CALLS = 1000
SIDE = 32


@cache
def slowness() -> float:
    """The seconds of the probe here over those there: 2.0 on a machine of half the speed. The
    fastest of several probes counts, which other programs disturb least."""
    import numpy as np

    A = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    return min(_probe(A) for _ in range(PROBES)) / REFERENCE


def _probe(A) -> float:
    started = time.perf_counter()
    X = A
    for _ in range(CALLS):
        X = A @ X
        X = X / (1.0 + abs(X))
    return time.perf_counter() - started
