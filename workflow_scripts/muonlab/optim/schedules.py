"""Learning-rate schedules, as a factor on the peak rate, indexed by optimizer updates."""

import math

SCHEDULES = ("constant", "linear", "cosine")


def lr_factor(
    update: int,
    total: int,
    schedule: str,
    warmup: int = 0,
    final_fraction: float = 0.0,
    from_zero: bool = False,
) -> float:
    """The factor on the peak learning rate at `update` (0-based) of `total` optimizer updates.

    Linear warm-up over the first `warmup` updates, which never starts at zero (update 0 already
    moves the weights, unless `from_zero`), then constant, or linear / half-cosine decay to
    `final_fraction`, reached at the last update and kept in a run that goes on. The index counts
    updates, not the micro-steps of gradient accumulation.
    """
    if update < warmup:
        return (update + (not from_zero)) / warmup
    if schedule == "constant":
        return 1.0
    done = min(1.0, (update - warmup) / max(1, total - 1 - warmup))
    if schedule == "linear":
        shape = 1.0 - done
    elif schedule == "cosine":
        shape = 0.5 * (1.0 + math.cos(math.pi * done))
    else:
        raise ValueError(f"schedule: must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    return final_fraction + (1.0 - final_fraction) * shape
