"""Search spaces and their points. Each point is one trial of an arm's tuning.

A space gives each tuned field either a range, {low, high, log, from_one}, or values, as
{values: […]} or as a bare list. If both ends of a range are written as integers, it contains only
integers. The points depend on the space and the seed alone. The first points are the same for every
number of points, so a larger budget trains only the additional trials.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muonlab.io.errors import UserError
from muonlab.tuning.draws import block

Value = float | int | bool | str
Point = dict[str, Value]
Space = Mapping[str, Mapping[str, Any] | Sequence[Value]]

DIGITS = 3  # significant digits of a value, so that the names of runs stay readable
MOST_DRAWS = 2**16  # a sequence ends after so many draws, even if it has not given every point


@dataclass(frozen=True)
class Scale:
    """The scale on which a range is evenly spread: linear, or logarithmic in the value or, with
    `from_one`, in its distance from 1."""

    log: bool
    from_one: bool

    def to(self, value: float) -> float:
        """The position of `value` on the scale; it rises with the value."""
        if self.from_one:
            return -math.log(1 - value)
        return math.log(value) if self.log else float(value)

    def back(self, position: float) -> float:
        """The value at a position."""
        if self.from_one:
            return 1 - math.exp(-position)
        return math.exp(position) if self.log else position


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, evenly spread on a linear or (`log`) logarithmic scale. On
    a logarithmic scale `from_one`, the distances from 1 are so spread, as suits decay rates."""

    low: float
    high: float
    log: bool
    integer: bool
    from_one: bool = False

    @property
    def scale(self) -> Scale:
        return Scale(self.log, self.from_one)

    def at(self, u: float) -> float | int:
        """The value at the fraction u in [0, 1) of the range, as `nearest` rounds it."""
        if self.from_one:
            near, far = 1 - self.high, 1 - self.low
            return self.nearest(1 - far * (near / far) ** u)
        # An integer stands for the interval of length 1 around it, so that both ends are drawn as
        # often as the other integers.
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        return self.nearest(low * (high / low) ** u if self.log else low + (high - low) * u)

    def rounded(self, value: float) -> float:
        """`value` rounded to three significant digits (of its distance from 1, `from_one`)."""
        if self.integer:
            return round(value)
        return round(1 - rounded(1 - value), 12) if self.from_one else rounded(value)

    def nearest(self, value: float) -> float | int:
        """`value` rounded to one that a trial may have, inside the range.

        It is rounded to three significant digits, or to more if the range (such as 0.99 to 0.999)
        would otherwise have fewer than a hundred values.
        """
        if self.integer:
            return min(max(round(value), self.low), self.high)
        if self.from_one:
            return min(max(self.rounded(value), self.low), self.high)
        step = _magnitude((self.high - self.low) / 100)
        digits = max(DIGITS, _magnitude(value) - step + 1) if value else DIGITS
        return min(max(rounded(value, digits), self.low), self.high)

    def holds(self, value: Value) -> bool:
        return is_number(value) and self.low <= value <= self.high

    def given(self, low: float, high: float) -> dict[str, Any]:
        """Another range on the same scale, as a search space has it."""
        found = {"low": low, "high": high, "log": self.log}
        return found | ({"from_one": True} if self.from_one else {})


@dataclass(frozen=True)
class Choice:
    """One of the listed values, all equally likely."""

    values: tuple[Value, ...]

    def at(self, u: float) -> Value:
        return self.values[int(u * len(self.values))]

    def holds(self, value: Value) -> bool:
        return any(key((value,)) == key((v,)) for v in self.values)


def axes(space: Space, place: str = "box") -> dict[str, Range | Choice]:
    """The axes of the space, in the order of its fields. Raises UserError, which names `place`, if
    one is wrong."""
    if not space:
        raise UserError(f"{place}: must name one or more fields to tune")
    return {field: _axis(given, f"{place}.{field}") for field, given in space.items()}


def grid_points(space: Space, place: str = "grid") -> list[Point]:
    """Every combination of the space's values; the last field varies fastest.

    Raises UserError for a field that is a range, since a grid needs a list of values.
    """
    checked = axes(space, place)
    for field, axis in checked.items():
        if isinstance(axis, Range):
            raise UserError(f"{place}.{field}: a grid needs a list of values, not a range")
    return [
        dict(zip(checked, values, strict=True))
        for values in itertools.product(*(axis.values for axis in checked.values()))
    ]


def sobol_points(space: Space, n: int, seed: int, place: str = "box") -> list[Point]:
    """The first n different points of the Sobol sequence over the space, scrambled by `seed`.

    The sequence is that of scipy.stats.qmc, scrambled by random matrices and a digital shift.
    Raises UserError if the space has too few different points.
    """
    return take(sobol_stream(axes(space, place), seed), n, place)


def sobol_stream(checked: Mapping[str, Range | Choice], seed: int) -> Iterator[Point]:
    """The different points of the seed's sequence in order, until it ends.

    Fields are assigned to the dimensions of the sequence in alphabetical order, so the order in
    which a file lists them does not matter.
    """
    from muonlab.streams import stream_key

    stream = stream_key(seed, "search", "sobol")
    dimension = {field: i for i, field in enumerate(sorted(checked))}
    most, seen, drawn = count_points(checked), set(), 0
    for number in itertools.count():
        rows = block(len(checked), stream, number)
        for row in rows:
            point = {field: axis.at(row[dimension[field]]) for field, axis in checked.items()}
            if key(point.values()) not in seen:
                seen.add(key(point.values()))
                yield point
        drawn += len(rows)
        if len(seen) == most or drawn >= MOST_DRAWS:
            return


def take(points: Iterator[Point], n: int, place: str) -> list[Point]:
    """The first n points. Raises UserError if there are fewer."""
    if n < 0:
        raise ValueError(f"the number of points must not be negative, and is {n}.")
    taken = list(itertools.islice(points, n))
    if len(taken) < n:
        raise UserError(
            f"{place}: has only {len(taken)} different new points, and {n} trials were asked for"
        )
    return taken


def rounded(value: float, digits: int = DIGITS) -> float:
    """`value` rounded to significant digits."""
    return float(f"{value:.{digits}g}")


def is_number(value: Value) -> bool:
    """Whether a value is a finite number and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def key(values) -> tuple:
    """A key for comparing values: 1 and 1.0 are the same value, 1 and true are different."""
    return tuple(value if is_number(value) else (type(value).__name__, value) for value in values)


def _axis(given: Mapping[str, Any] | Sequence[Value], place: str) -> Range | Choice:
    if not isinstance(given, Mapping):
        return _choice(given, place)
    if set(given) == {"values"}:
        return _choice(given["values"], place)
    unknown = sorted(set(given) - {"low", "high", "log", "from_one"})
    if unknown or not {"low", "high"} <= set(given):
        raise UserError(
            f"{place}: must have either low, high and optionally log and from_one, or only values; "
            f"it has "
            f"{', '.join(map(str, given)) or 'nothing'}"
        )
    low, high, log = given["low"], given["high"], given.get("log", False)
    if not (is_number(low) and is_number(high) and low < high):
        raise UserError(f"{place}: low must be a number below high, not {low!r} and {high!r}")
    if not isinstance(log, bool):
        raise UserError(f"{place}.log: must be true or false, not {log!r}")
    from_one = given.get("from_one", False)
    if from_one and not (log and high < 1):
        raise UserError(
            f"{place}.from_one: needs log: true and values below 1, not log: "
            f"{str(log).lower()} and high: {high!r}"
        )
    if log and low <= 0 and not from_one:
        raise UserError(f"{place}: low must be above 0 on a logarithmic scale, not {low!r}")
    return Range(low, high, log, isinstance(low, int) and isinstance(high, int), from_one)


def _choice(values: Any, place: str) -> Choice:
    plain = isinstance(values, list | tuple) and all(isinstance(v, Value) for v in values)
    if not plain or not values or len(set(key(values))) < len(values):
        raise UserError(f"{place}: must be a list of one or more different values")
    return Choice(tuple(values))


def count_points(checked: Mapping[str, Range | Choice]) -> float:
    """The number of points in the space; infinite if a range is not of integers."""
    return math.prod(
        len(axis.values)
        if isinstance(axis, Choice)
        else axis.high - axis.low + 1
        if axis.integer
        else math.inf
        for axis in checked.values()
    )


def _magnitude(value: float) -> int:
    """The exponent of ten of the first significant digit."""
    return math.floor(math.log10(abs(value)))
