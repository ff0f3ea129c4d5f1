"""Sentences about experiments, each computed from the rows of a table."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.factorials import MEAN
from muonlab.report.numbers import interval, number
from muonlab.report.words import said
from muonlab.statistics.verdicts import BETTER, DIFFERENT, HIGHER, LOWER, NOT_ESTIMABLE, WORSE


def factorial_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each factorial of factorials.csv, and whether the factorials agree on which
    component contributes more."""
    yield (
        f"Costs are differences of the final loss in nats, with {study['interval']} intervals over "
        "paired seeds; the four questions of an item are one family, whose intervals hold "
        "together."
    )
    yield ""
    leaders = {}
    for label, own in table.groupby("factorial", sort=False):
        effects = own[own.effect != MEAN]
        asked = {effect: list(rows.itertuples()) for effect, rows in effects.groupby("effect")}
        first, second = asked["contribution"]
        (difference,), (synergy,) = asked["difference of contributions"], asked["synergy"]
        parts = [_contribution(first), _contribution(second), _order(difference, first, second)]
        parts.append(_synergy(synergy))
        yield f"- {label[:1].upper() + label[1:]} (n = {first.n}): {' '.join(parts)}"
        leaders[label] = _leader(difference, first, second)
    if len(leaders) > 1:
        yield ""
        yield _agreement(leaders)


def _contribution(row) -> str:
    if row.verdict == HIGHER:
        return f"Removing {row.component} costs {_numbers(row)} nats."
    if row.verdict == LOWER:
        return f"Removing {row.component} lowers the loss by {_numbers(row, -1)} nats."
    if row.verdict != NOT_ESTIMABLE:
        return f"What removing {row.component} costs: {_open(row)}."
    return f"What removing {row.component} costs cannot be estimated ({_why(row)})."


def _order(row, first, second) -> str:
    leader = _leader(row, first, second)
    if leader is not None:
        sign = 1 if leader == first.component else -1
        return f"{leader} contributes more, by {_numbers(row, sign)} nats."
    if row.verdict != NOT_ESTIMABLE:
        return f"Which contributes more ({row.component}): {_open(row)}."
    return f"Which of the two contributes more cannot be estimated ({_why(row)})."


def _leader(row, first, second) -> str | None:
    """The component whose contribution is shown to be larger, if either is."""
    leaders = {HIGHER: first.component, LOWER: second.component}
    return leaders.get(row.verdict)


def _synergy(row) -> str:
    """The synergy as a sentence. It is the sum of what removing each component costs, minus what
    removing both costs."""
    if row.verdict == HIGHER:
        return f"Removing both costs {_numbers(row)} nats less than the sum of removing each."
    if row.verdict == LOWER:
        return (
            f"Removing both costs {_numbers(row, -1)} nats more than the sum of removing each: the "
            "two partly stand in for each other."
        )
    if row.verdict != NOT_ESTIMABLE:
        return f"The sum of removing each minus removing both: {_open(row)}."
    return (
        "How the cost of removing both compares with the sum of removing each cannot be estimated "
        f"({_why(row)})."
    )


def _agreement(leaders: Mapping[str, str | None]) -> str:
    settled = {label: leader for label, leader in leaders.items() if leader}
    open_ones = ", ".join(label for label in leaders if label not in settled)
    if not settled:
        return "Neither component is shown to contribute more in any of these."
    if len(set(settled.values())) > 1:
        each = ", ".join(f"{leader} ({label})" for label, leader in settled.items())
        return f"Which component contributes more depends on the comparison: {each}."
    (leader,) = set(settled.values())
    if open_ones:
        return (
            f"{leader} contributes more in: {', '.join(settled)}; neither is shown to contribute "
            f"more in: {open_ones}."
        )
    return f"{leader} contributes more in all of these: {', '.join(settled)}."


def sweep_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each sweep of one_at_a_time.csv: the reference value, how the other values
    compare with it, and which of them are better or worse."""
    yield (
        "Each number is the loss at that value minus the loss at the chosen value, or at the "
        f"base's, with its simultaneous {study['interval']} interval over paired seeds. The values "
        "of a sweep over tuning seeds are one family; over reporting seeds, interval and verdict "
        "are those of the table of contrasts. Fewer than four seeds give no verdict. On tuning "
        "seeds the chosen value looks better than it is, because these seeds also chose it."
    )
    yield ""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for (arm, field, seeds), own in table.groupby(["arm", "field", "seeds"], sort=False):
        rows = list(own.itertuples())
        (base,) = [row for row in rows if row.reference]
        others = [row for row in rows if not row.reference]
        beside = f"{base.beside}; " if isinstance(base.beside, str) and base.beside else ""
        edge = isinstance(base.edge, str) and base.edge
        yield (
            f"- {field} of {labels[arm]} ({beside}n = {base.n} {seeds} seeds): "
            f"{'tuning chose' if seeds == 'tuning' else 'the base has'} {base.value:g}"
            f"{', at the ' + edge + ' edge of its grid' if edge else ''}. Compared with it, "
            f"{'; '.join(map(_against, others))}. {_conclusion(base, others)}"
        )


def _against(row) -> str:
    if row.diverged:
        return f"{row.value:g}: — ({row.diverged} of {row.n} diverged)"
    if not np.isfinite(row.difference_low):
        return f"{row.value:g}: — ({number(row.difference, sign=True)}, no interval)"
    numbers = interval(row.difference, row.difference_low, row.difference_high, sign=True)
    shown = f"**{numbers}**" if row.verdict in DIFFERENT else numbers
    return f"{row.value:g}: {shown}, {said(row)}"


def _conclusion(base, others: list) -> str:
    """Which values are better and which are worse than the reference, if any."""
    found = [
        f"{word.capitalize()} than {base.value:g}: {_values(rows)}."
        for word in (BETTER, WORSE)
        if (rows := [row for row in others if row.verdict == word])
    ]
    return " ".join(found) or f"No value is shown to be better or worse than {base.value:g}."


def _values(rows: list) -> str:
    return ", ".join(f"{row.value:g}" for row in rows)


def _numbers(row, sign: int = 1) -> str:
    """The effect and its interval; with sign −1, the negated effect and its interval."""
    low, high = sorted((sign * row.low, sign * row.high))
    return interval(sign * row.value, low, high)


def _open(row) -> str:
    """An effect that is not shown to differ from 0: its verdict, value and interval."""
    return f"{said(row)}, {interval(row.value, row.low, row.high, sign=True)} nats"


def _why(row) -> str:
    """Why an effect cannot be estimated, and its value if it has one."""
    value = f"; its value is {number(row.value, sign=True)}" if np.isfinite(row.value) else ""
    return f"{row.reason[:1].lower() + row.reason[1:].rstrip('.')}{value}"
