"""A ladder of losses that is the same for all runs, from which their weights are kept.

Rung k is the loss ratio^k. A run passes a rung at its first evaluation at or under that loss. All
runs of a study thus have weights from the same losses, although none of them knows of any other.
"""

import math
from collections.abc import Mapping, Sequence

FLOOR = 1e-9  # lower losses count as this one; the logarithm of 0 is no rung


def rung_of(loss: float, ratio: float) -> int:
    """The lowest k with loss ≤ ratio^k; `loss` must be finite and `ratio` above 1."""
    loss = max(loss, FLOOR)
    k = math.ceil(math.log(loss) / math.log(ratio))
    # The quotient of two rounded logarithms may miss a loss that is itself a rung.
    while loss > ratio**k:
        k += 1
    while loss <= ratio ** (k - 1):
        k -= 1
    return k


def rungs_passed(losses: Sequence[tuple[int, float]], ratio: float) -> dict[int, range]:
    """The rungs that a run passed, by the step of the evaluation at which it did.

    `losses` are (step, loss) in the order of training. Each rung is passed once, at the first
    evaluation at or under it, and one evaluation may pass several. The first finite loss is where
    the run stands at the start: it passes nothing. A loss that is not finite passes nothing either.
    """
    found: dict[int, range] = {}
    lowest: int | None = None
    for step, loss in losses:
        if not math.isfinite(loss):
            continue
        rung = rung_of(loss, ratio)
        if lowest is None:
            lowest = rung
        if rung < lowest:
            found[step] = range(rung, lowest)
            lowest = rung
    return found


def thinned(passed: Mapping[int, range], most: int) -> list[int]:
    """At most `most` of the steps in `passed`, in order: those that pass a rung whose number is a
    multiple of 1, 2, 4, 8 …, the first of these for which they are few enough.

    The choice is by the number of the rung and not by the place in the run, so that of two runs
    one has the same rungs as the other, or every second one of them. `most` must be at least 1.
    """
    stride = 1
    while True:
        steps = [step for step, rungs in passed.items() if _has_multiple(rungs, stride)]
        if len(steps) <= most:
            return steps
        stride *= 2


def _has_multiple(rungs: range, stride: int) -> bool:
    first = -(-rungs.start // stride) * stride
    return first < rungs.stop
