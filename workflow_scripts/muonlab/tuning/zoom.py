"""A coarse round of trials over an arm's whole box, then finer rounds around its best trial.

The first round has Sobol points of the whole box. Each later round has Sobol points of a box that
is centred on the arm's best trial so far. In round 2 it has half the width of the first box, on the
scale of each axis; in round r it has 0.5^(r − 1) of the width of the range tried so far. Such a box
may reach beyond the edge of the first one, on either side, so a best trial on an edge is followed
outwards. Arms that are searched together get equally many trials in every round.
"""

import math
from collections.abc import Mapping, Sequence

from muonlab.tuning.selection import edges
from muonlab.tuning.space import Choice, Point, Range, Space, axes, key, sobol_stream, take
from muonlab.tuning.widening import ANY, Limits, extended

NARROWING = 0.5


def trials_of_round(trials: int, rounds: int, number: int) -> int:
    """How many of an arm's `trials` belong to round `number` (from 1); a round that follows because
    of an edge has as many as the last planned one."""
    each = trials // rounds
    return trials - each * (rounds - 1) if number == 1 else each


def finer_points(
    space: Space,
    scored: Sequence[Mapping],
    number: int,
    tuning: Mapping,
    limits: Mapping[str, Limits],
    place: str = "box",
) -> tuple[dict, list[Point]]:
    """The range of all values tried so far and now, and the arm's trials of round `number` (2 or
    more). A best trial at an end of that range lies on an edge: nothing beyond it was tried.

    `space` is that range before this round (at first the declared box), and `scored` has the
    settings and score of the earlier trials. The points depend on the arguments alone, and none of
    them was tried before.
    """
    best = min(scored, key=lambda trial: trial["score"])["settings"]
    share = NARROWING ** (min(number, tuning["rounds"]) - 1)
    hull, box = axes(space, place), {}
    for field, axis in hull.items():
        box[field] = (
            _around(axis, best[field], share, limits.get(field, ANY))
            if isinstance(axis, Range)
            else _with_next_value(field, axis, best[field], limits.get(field, ANY))
        )
    tried = {key(trial["settings"][field] for field in hull) for trial in scored}
    stream = sobol_stream(box, tuning["search_seed"] + number - 1)
    fresh = (point for point in stream if key(point.values()) not in tried)
    count = trials_of_round(tuning["trials"], tuning["rounds"], number)
    points = take(fresh, count, place)
    everything = [trial["settings"] for trial in scored] + points
    return {f: _tried(box[f], [point[f] for point in everything]) for f in hull}, points


def _around(axis: Range, best: float, share: float, limits: Limits) -> Range:
    """The part of the axis's scale that is centred on `best` and has `share` of its width, inside
    the values that the field allows."""
    scale = axis.scale
    half = share * abs(scale.to(axis.high) - scale.to(axis.low)) / 2
    ends = sorted(scale.back(scale.to(best) + sign * half) for sign in (-1, 1))
    # A limit may itself be forbidden (a rate of 0), so the axis's own end stands in for it.
    low = ends[0] if ends[0] > limits[0] else min(axis.low, best)
    high = ends[1] if ends[1] < limits[1] else max(axis.high, best)
    if axis.integer:
        low, high = math.floor(min(low, best - 1)), math.ceil(max(high, best + 1))
        # There is no 0 on a logarithmic scale, even where the field allows it.
        low, high = max(low, limits[0], 1 if axis.log else low), min(high, limits[1])
    return Range(axis.rounded(low), axis.rounded(high), axis.log, axis.integer, axis.from_one)


def _with_next_value(field: str, axis: Choice, best: object, limits: Limits) -> Choice:
    """The listed values and, if the best is the lowest or highest number, the next one beyond."""
    found = edges({field: best}, {field: list(axis.values)})
    grown = extended({"arm": {field: list(axis.values)}}, {"arm": found}, {field: limits})
    return Choice(tuple(grown["arm"][field]["values"]))


def _tried(axis: Range | Choice, values: Sequence) -> dict:
    """The range of the values tried, or the list that they came from."""
    if isinstance(axis, Choice):
        return {"values": list(axis.values)}
    # No setting is negative, so 0 is no edge that could be passed.
    low, high = axis.low if axis.low == 0 else min(values), max(values)
    if low == high:  # a range needs two ends
        low, high = axis.low, axis.high
    return axis.given(low, high)
