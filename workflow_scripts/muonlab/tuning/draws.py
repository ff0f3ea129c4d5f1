"""Numbers of scrambled Sobol sequences, in blocks.

Every start of the workflow needs the points of its search spaces, and importing the library that
draws them takes longer than all else that the plan does. The workflow therefore has the blocks kept
in a file (`keep_in`). A block depends on its arguments and on the version of scipy alone, and both
are written with it, so what is kept cannot be out of date. Without the file, everything is drawn.
"""

import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from muonlab.io.atomic import write_text

Block = list[list[float]]

_kept: Path | None = None


def keep_in(file: Path | None) -> None:
    """Names the file in which blocks are kept for later processes; None keeps them nowhere."""
    global _kept
    _kept = file
    _known.cache_clear()


def block(dimensions: int, key: int, number: int) -> Block:
    """Block `number` (from 0) of the scrambled Sobol sequence of `key`: points of the unit cube.

    The blocks have 16, 16, 32, 64 … points, so that their total is always a power of two, at which
    the sequence is balanced (scipy.stats.qmc.Sobol, scrambled by random matrices and a digital
    shift).
    """
    known, name = _known(), f"{dimensions}/{key}/{number}"
    if name not in known:
        blocks = enumerate(_drawn(dimensions, key, number))
        known |= {f"{dimensions}/{key}/{i}": found for i, found in blocks}
        if _kept is not None:
            with suppress(OSError):  # it saves time and nothing else
                write_text(_kept, json.dumps({"scipy": version("scipy"), "blocks": known}))
    return known[name]


@cache
def _known() -> dict[str, Block]:
    """The blocks that were kept by the same version of scipy."""
    try:
        found = json.loads(_kept.read_text(encoding="utf-8"))
        return dict(found["blocks"]) if found["scipy"] == version("scipy") else {}
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return {}  # nothing is kept, or not by this module


def _drawn(dimensions: int, key: int, last: int) -> list[Block]:
    """Blocks 0 to `last`."""
    from scipy.stats import qmc

    sampler = qmc.Sobol(dimensions, rng=key)
    return [sampler.random_base2(max(4, i + 3)).tolist() for i in range(last + 1)]
