"""Sentences about experiments, each computed from the rows of a table."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.factorials import MEAN


def factorial_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each factorial of factorials.csv, and whether the factorials agree on which
    component contributes more."""
    yield (
        f"Costs are differences of the final loss in nats, with {study['interval']} intervals over "
        "paired seeds. An effect is called significant if it is so after Holm's correction over "
        "the four questions of an item."
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
    if row.verdict == "positive":
        return f"Removing {row.component} costs {_numbers(row)} nats."
    if row.verdict == "negative":
        return f"Removing {row.component} lowers the loss by {_numbers(row, -1)} nats."
    if row.verdict == "undecided":
        return f"Removing {row.component} makes no significant difference ({_signed(row)} nats)."
    return f"What removing {row.component} costs cannot be estimated ({_why(row)})."


def _order(row, first, second) -> str:
    leader = _leader(row, first, second)
    if leader is not None:
        sign = 1 if leader == first.component else -1
        return f"{leader} contributes more, by {_numbers(row, sign)} nats."
    if row.verdict == "undecided":
        return (
            "The two contributions do not differ significantly "
            f"({row.component}: {_signed(row)} nats)."
        )
    return f"Which of the two contributes more cannot be estimated ({_why(row)})."


def _leader(row, first, second) -> str | None:
    """The component whose contribution is significantly larger, if either is."""
    leaders = {"positive": first.component, "negative": second.component}
    return leaders.get(row.verdict)


def _synergy(row) -> str:
    """The synergy as a sentence. It is the sum of what removing each component costs, minus what
    removing both costs."""
    if row.verdict == "positive":
        return f"Removing both costs {_numbers(row)} nats less than the sum of removing each."
    if row.verdict == "negative":
        return (
            f"Removing both costs {_numbers(row, -1)} nats more than the sum of removing each: the "
            "two partly stand in for each other."
        )
    if row.verdict == "undecided":
        return (
            "What removing both costs does not differ significantly from the sum of removing each "
            f"(sum minus both: {_signed(row)} nats)."
        )
    return (
        "How the cost of removing both compares with the sum of removing each cannot be estimated "
        f"({_why(row)})."
    )


def _agreement(leaders: Mapping[str, str | None]) -> str:
    settled = {label: leader for label, leader in leaders.items() if leader}
    open_ones = ", ".join(label for label in leaders if label not in settled)
    if not settled:
        return "Neither component contributes significantly more in any of these."
    if len(set(settled.values())) > 1:
        each = ", ".join(f"{leader} ({label})" for label, leader in settled.items())
        return f"Which component contributes more depends on the comparison: {each}."
    (leader,) = set(settled.values())
    if open_ones:
        return (
            f"{leader} contributes more in: {', '.join(settled)}; the two do not differ "
            f"significantly in: {open_ones}."
        )
    return f"{leader} contributes more in all of these: {', '.join(settled)}."


def sweep_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each sweep of one_at_a_time.csv: the reference value, how the other values
    compare with it, and which of them differ significantly from it."""
    yield (
        "Each number is the loss at that value minus the loss at the chosen value, or at the "
        f"base's, with its {study['interval']} interval over paired seeds. Bold: the difference is "
        "significant after Holm's correction over the values of a sweep; ?: it is not. On tuning "
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
        return f"{row.value:g}: — ({row.difference:+.3g}, no interval)"
    numbers = interval(row.difference, row.difference_low, row.difference_high, "+")
    return f"{row.value:g}: {f'? {numbers}' if row.verdict == 'undecided' else f'**{numbers}**'}"


def _conclusion(base, others: list) -> str:
    lower = [row for row in others if row.verdict == "lower"]
    higher = [row for row in others if row.verdict == "higher"]
    unknown = [row for row in others if row.verdict == "undecided"]
    if lower:
        return f"Significantly better than {base.value:g}: {_values(lower)}."
    if higher and not unknown:
        return f"Significantly worse than {base.value:g}: {_values(higher)}."
    if unknown and not higher:
        return f"No value differs significantly from {base.value:g}."
    if unknown:
        return (
            f"Significantly worse than {base.value:g}: {_values(higher)}; not significantly "
            f"different from it: {_values(unknown)}."
        )
    return "Nothing can be estimated."


def _values(rows: list) -> str:
    return ", ".join(f"{row.value:g}" for row in rows)


def _numbers(row, sign: int = 1) -> str:
    """The effect and its interval; with sign −1, the negated effect and its interval."""
    low, high = sorted((sign * row.low, sign * row.high))
    return interval(sign * row.value, low, high)


def _signed(row) -> str:
    return interval(row.value, row.low, row.high, "+")


def interval(value: float, low: float, high: float, sign: str = "") -> str:
    """`value [low, high]` with three digits, or with more (up to six) until all three differ."""
    for digits in range(3, 7):
        texts = [f"{number:.{digits}g}" for number in (low, value, high)]
        if len(set(texts)) == 3:
            break
    return f"{value:{sign}.{digits}g} [{texts[0]}, {texts[2]}]"


def _why(row) -> str:
    """Why an effect's significance cannot be estimated, and its value if it has one."""
    value = f"; its value is {row.value:+.3g}" if np.isfinite(row.value) else ""
    return f"{row.reason[:1].lower() + row.reason[1:].rstrip('.')}{value}"
