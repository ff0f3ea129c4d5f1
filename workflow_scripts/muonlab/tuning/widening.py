"""Growing the search spaces of all arms alike where the best trial of any of them was on an edge.

One arm's space alone is never grown: the other side of the comparison would then have had fewer
trials, over a narrower space.
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
    """Every arm's space, grown in each field on the sides that any arm's best trial touched.

    `edges` has, for each arm, {field: "low" or "high"}, as tuning finds them. A list of numbers
    grows by one value: the last one times the last two's ratio, or plus their difference where
    the values are integers at even steps. A range grows by half its width, on its own scale.
    `limits` are the (lowest, highest) values a field may have, (0, ∞) by default: what would pass a
    limit goes towards it instead, the distance falling by the same ratio (by half, for a range).

    Lists of other values do not grow. The trials of a grown grid hold those of the old one; the new
    trials of a box are `further_points`. UserError where the grids of two arms would grow by
    different numbers of trials, as they do when only one has the field.
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
    """An arm's n new trials after its box `old`, with the trials `known`, became `new`.

    The seed's first Sobol points where the box has grown. The box of an arm that has none of the
    fields that grew stays as it was, and goes on in its sequence: every arm gets the same
    number. UserError where there are not so many points.
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
    """The value that follows the last two of `ordered`, which rise or fall."""
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
        if axis.log:
            factor = math.sqrt(axis.high / axis.low)
            value = end * factor if side == "high" else end / factor
        else:
            half = (axis.high - axis.low) / 2
            value = end + half if side == "high" else end - half
        value = max(1, round(value)) if axis.integer else rounded(value)
        if not _stops_before(limit, value, side == "high"):
            value = _nearer(limit, end, 0.5, axis.integer)
        ends[side] = value
    return {
        "low": min(ends["low"], axis.low),
        "high": max(ends["high"], axis.high),
        "log": axis.log,
    }


def _stops_before(limit: float, value: float, rising: bool) -> bool:
    return value < limit if rising else value > limit


def _nearer(limit: float, last: float, ratio: float, integer: bool) -> float:
    """`last` moved towards the limit, to `ratio` of its distance."""
    distance = rounded((limit - last) * ratio)
    return round(limit - distance) if integer else round(limit - distance, 12)


def _check_equal(spaces: Mapping[str, Space], grown: Mapping[str, Space], place: str) -> None:
    """Raises UserError where all spaces are lists and their grids grow by different numbers."""
    checked = [axis for space in spaces.values() for axis in axes(space, place).values()]
    if any(isinstance(axis, Range) for axis in checked):
        return  # the number of trials is then not the space's
    added = {arm: len(grid_points(grown[arm])) - len(grid_points(spaces[arm])) for arm in spaces}
    if len(set(added.values())) > 1:
        listed = ", ".join(f"{arm} {n}" for arm, n in added.items())
        raise UserError(
            f"{place}: the grids would grow by different numbers of trials ({listed}); "
            "search over boxes, or give every arm its wider grid by hand"
        )
