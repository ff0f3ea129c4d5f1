"""Widens the search spaces of all arms if the best trial of any of them lies on an edge.

The space of one arm is never widened alone: the other arms would then have had fewer trials, from a
narrower space, and the comparison would not be fair.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from muonlab.io.errors import UserError
from muonlab.tuning.space import (
    Choice,
    Point,
    Range,
    Space,
    axes,
    grid_points,
    is_number,
    key,
    rounded,
    sobol_stream,
    take,
)

Limits = tuple[float, float]
ANY = (0.0, math.inf)


def extended(
    spaces: Mapping[str, Space],
    edges: Mapping[str, Mapping[str, str]],
    limits: Mapping[str, Limits] | None = None,
    place: str = "tuning",
) -> dict[str, dict[str, Any]]:
    """Every arm's space, widened in each field on the sides where any arm's best trial lay.

    `edges` has {field: "low" or "high"} for each arm, as tuning finds them. A list of numbers gets
    one more value: the last value times the ratio of the last two or, for equally spaced integers,
    plus their difference. A range is widened by half its width, on its own scale. `limits` are the
    (lowest, highest) values that a field may have, (0, ∞) by default. A value that would pass its
    limit approaches it instead: the distance to the limit shrinks by the ratio of the last two
    distances (by half, for a range).

    Lists of other values stay as they are. A widened grid contains all trials of the old one; the
    new trials of a box come from `further_points`. Raises UserError if the grids of two arms would
    grow by different numbers of trials, as happens if only one of them has the field.
    """
    touched: dict[str, set[str]] = {}
    for found in edges.values():
        for field, side in found.items():
            touched.setdefault(field, set()).add(side)
    grown = {
        arm: {
            field: _grown(axis, touched.get(field, set()), (limits or {}).get(field, ANY))
            for field, axis in axes(space, f"{place}.{arm}").items()
        }
        for arm, space in spaces.items()
    }
    _check_equal(spaces, grown, place)
    return grown


def further_points(
    old: Space, new: Space, known: Iterable[Point], n: int, seed: int, place: str = "box"
) -> list[Point]:
    """An arm's n new trials after its box `old`, with the trials `known`, was widened to `new`.

    They are the first Sobol points of the seed that lie in the added part of the box. If none of
    the arm's fields was widened, its box is unchanged and its sequence continues, so that every arm
    gets the same number of trials. Raises UserError if there are too few points.
    """
    checked, inner = axes(new, place), axes(old, place)
    tried = {key(point[field] for field in checked) for point in known}
    fresh = (p for p in sobol_stream(checked, seed) if key(p.values()) not in tried)
    if checked != inner:
        fresh = (p for p in fresh if not all(inner[f].holds(v) for f, v in p.items()))
    return take(fresh, n, place)


def _grown(axis: Range | Choice, sides: set[str], limits: Limits) -> dict[str, Any]:
    if isinstance(axis, Range):
        return _grown_range(axis, sides, limits)
    values = list(axis.values)
    if all(map(is_number, values)) and len(values) > 1:
        ordered = sorted(values)
        low = _next(ordered[::-1], limits) if "low" in sides else ordered[0]
        high = _next(ordered, limits) if "high" in sides else ordered[-1]
        values = [v for v in (low,) if v < ordered[0]] + values
        values += [v for v in (high,) if v > ordered[-1]]
    return {"values": values}


def _next(ordered: list[float], limits: Limits) -> float:
    """The value that continues `ordered`, which rises or falls, after its last two values."""
    before, last = ordered[-2:]
    rising = last > before
    limit = limits[rising]
    steps = {b - a for a, b in zip(ordered, ordered[1:], strict=False)}
    integers = all(isinstance(value, int) for value in ordered)
    by_ratio = min(before, last) > 0 and not (integers and len(steps) == 1)
    value = last * (last / before) if by_ratio else last + (last - before)
    if not _stops_before(limit, value, rising):
        return _nearer(limit, last, (limit - last) / (limit - before), integers)
    return round(value) if integers else rounded(value)


def _grown_range(axis: Range, sides: set[str], limits: Limits) -> dict[str, Any]:
    ends = {"low": axis.low, "high": axis.high}
    for side in sides:
        end, limit = ends[side], limits[side == "high"]
        if axis.from_one:
            factor = math.sqrt((1 - axis.low) / (1 - axis.high))
            value = 1 - (1 - end) / factor if side == "high" else 1 - (1 - end) * factor
        elif axis.log:
            factor = math.sqrt(axis.high / axis.low)
            value = end * factor if side == "high" else end / factor
        else:
            half = (axis.high - axis.low) / 2
            value = end + half if side == "high" else end - half
        value = max(1, round(value)) if axis.integer else axis.rounded(value)
        if not _stops_before(limit, value, side == "high"):
            value = _nearer(limit, end, 0.5, axis.integer)
        ends[side] = value
    return axis.given(min(ends["low"], axis.low), max(ends["high"], axis.high))


def _stops_before(limit: float, value: float, rising: bool) -> bool:
    return value < limit if rising else value > limit


def _nearer(limit: float, last: float, ratio: float, integer: bool) -> float:
    """`last` moved towards the limit, so that `ratio` of the distance between them remains."""
    distance = rounded((limit - last) * ratio)
    return round(limit - distance) if integer else round(limit - distance, 12)


def _check_equal(spaces: Mapping[str, Space], grown: Mapping[str, Space], place: str) -> None:
    """Raises UserError if all spaces are grids and they grow by different numbers of trials."""
    checked = [axis for space in spaces.values() for axis in axes(space, place).values()]
    if any(isinstance(axis, Range) for axis in checked):
        return  # the space does not determine the number of trials
    added = {arm: len(grid_points(grown[arm])) - len(grid_points(spaces[arm])) for arm in spaces}
    if len(set(added.values())) > 1:
        listed = ", ".join(f"{arm} {n}" for arm, n in added.items())
        raise UserError(
            f"{place}: the grids of the arms would grow by different numbers of trials "
            f"({listed}); use the method sobol, or give every arm a wider grid yourself"
        )
