"""Sentences about experiments, each computed from the rows of a table."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.factorials import MEAN


def factorial_sentences(table: pd.DataFrame) -> Iterator[str]:
    """One item for each factorial of factorials.csv, and whether they agree in which component
    contributes more."""
    yield (
        "Differences of the final loss in nats, with 95 % intervals over paired seeds; p is "
        "corrected over the four questions of an item."
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
        yield f"- {label[:1].upper() + label[1:]} (n = {first.n}): {'; '.join(parts)}."
        leaders[label] = _leader(difference, first, second)
    if len(leaders) > 1:
        yield ""
        yield _agreement(leaders)


def _contribution(row) -> str:
    if row.verdict == "positive":
        return f"removing {row.component} costs {_numbers(row)}"
    if row.verdict == "negative":
        return f"removing {row.component} helps, by {_numbers(row, -1)}"
    return f"what removing {row.component} costs {_unknown(row, 'cannot be told from 0')}"


def _order(row, first, second) -> str:
    leader = _leader(row, first, second)
    if leader is None:
        words = "cannot be told apart"
        return f"which of the two contributes more {_unknown(row, words)}"
    sign = 1 if leader == first.component else -1
    return f"{leader} contributes more, by {_numbers(row, sign)}"


def _leader(row, first, second) -> str | None:
    """The component that contributes more, where that can be told."""
    leaders = {"positive": first.component, "negative": second.component}
    return leaders.get(row.verdict)


def _synergy(row) -> str:
    if row.verdict == "positive":
        return f"each is worth more beside the other, by {_numbers(row)} (synergy)"
    if row.verdict == "negative":
        return (
            f"each is worth less beside the other, by {_numbers(row, -1)} (negative synergy): they "
            "partly stand in for each other"
        )
    return f"their synergy {_unknown(row, 'cannot be told from 0')}"


def _agreement(leaders: Mapping[str, str | None]) -> str:
    settled = {label: leader for label, leader in leaders.items() if leader}
    open_ones = ", ".join(label for label in leaders if label not in settled)
    if not settled:
        return "Which component contributes more cannot be told in any of these."
    if len(set(settled.values())) > 1:
        each = ", ".join(f"{leader} ({label})" for label, leader in settled.items())
        return f"Which component contributes more depends on the comparison: {each}."
    (leader,) = set(settled.values())
    if open_ones:
        places = ", ".join(settled)
        return f"{leader} contributes more in: {places}; it cannot be told in: {open_ones}."
    return f"{leader} contributes more in all of these: {', '.join(settled)}."


def sweep_sentences(table: pd.DataFrame, labels: Mapping[str, str]) -> Iterator[str]:
    """One item for each sweep of one_at_a_time.csv: the reference, the others against it, and which
    of them cannot be told apart from it."""
    yield (
        "Differences of the loss to the chosen value, or to the base's, with 95 % intervals over "
        "paired seeds. In bold are those that stand after Holm's correction over a sweep's values; "
        "? cannot be told apart. Tuning seeds also made the choice, which flatters it."
    )
    yield ""
    for (arm, field, seeds), own in table.groupby(["arm", "field", "seeds"], sort=False):
        rows = list(own.itertuples())
        (base,) = [row for row in rows if row.reference]
        others = [row for row in rows if not row.reference]
        beside = f"{base.beside}; " if isinstance(base.beside, str) and base.beside else ""
        edge = isinstance(base.edge, str) and base.edge
        yield (
            f"- {field} of {labels[arm]} ({beside}n = {base.n} {seeds} seeds): "
            f"{'chosen' if seeds == 'tuning' else 'the base has'} {base.value:g}"
            f"{', on the ' + edge + ' edge of its grid' if edge else ''}. Against it "
            f"{', '.join(map(_against, others))}. {_conclusion(base, others)}"
        )


def _against(row) -> str:
    if row.diverged:
        return f"{row.value:g} — ({row.diverged} of {row.n} diverged)"
    if not np.isfinite(row.difference_low):
        return f"{row.value:g} — ({row.difference:+.3g}, no interval)"
    numbers = interval(row.difference, row.difference_low, row.difference_high, "+")
    return f"{row.value:g} {f'? {numbers}' if row.verdict == 'undecided' else f'**{numbers}**'}"


def _conclusion(base, others: list) -> str:
    lower = [row for row in others if row.verdict == "lower"]
    higher = [row for row in others if row.verdict == "higher"]
    unknown = [row for row in others if row.verdict == "undecided"]
    if lower:
        return f"Better than {base.value:g}: {_values(lower)}."
    if higher and not unknown:
        return f"{_values(higher)} {'are' if len(higher) > 1 else 'is'} worse than {base.value:g}."
    if unknown and not higher:
        return f"No value can be told apart from {base.value:g}."
    if unknown:
        return (
            f"Worse than {base.value:g}: {_values(higher)}; cannot be told apart from it: "
            f"{_values(unknown)}."
        )
    return "Nothing can be estimated."


def _values(rows: list) -> str:
    return ", ".join(f"{row.value:g}" for row in rows)


def _numbers(row, sign: int = 1) -> str:
    """The effect and its interval; with sign −1 those of its opposite."""
    low, high = sorted((sign * row.low, sign * row.high))
    return interval(sign * row.value, low, high)


def interval(value: float, low: float, high: float, sign: str = "") -> str:
    """`value [low, high]` with three digits, or as many as tell the three apart (up to six)."""
    for digits in range(3, 7):
        texts = [f"{number:.{digits}g}" for number in (low, value, high)]
        if len(set(texts)) == 3:
            break
    return f"{value:{sign}.{digits}g} [{texts[0]}, {texts[2]}]"


def _unknown(row, words: str) -> str:
    if row.verdict == "undecided":
        return f"{words}: {interval(row.value, row.low, row.high, '+')}"
    value = f"; it is {row.value:+.3g} here" if np.isfinite(row.value) else ""
    reason = row.reason[:1].lower() + row.reason[1:].rstrip(".")
    return f"cannot be estimated ({reason}{value})"
