"""What the tables of a study say of one part of a claim: numbers, and the answer.

A part names a row of a table, or, with a pattern, several rows of the contrasts; `plan.claims`
explains its fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from muonlab.report.words import said
from muonlab.statistics.decisions import NOT_RUN, Answer, in_range, of_verdict
from muonlab.statistics.spread import ratio_of_deviations
from muonlab.statistics.verdicts import NOT_ESTIMABLE, flipped

MISSING = "the study has no table {table}"
NO_ROW = "the table {table} has no such row"


@dataclass(frozen=True)
class Tested:
    """One comparison: what is compared, its value with its interval over n seeds, the verdict in
    the words of its table, and its answer. `unfair` says what a reader must know beside it."""

    comparison: str
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: float = np.nan
    verdict: str = ""
    answer: Answer = Answer(NOT_RUN)
    reason: str = ""
    edge: bool = False
    compound: bool = False


def tested(
    part: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], study: Mapping[str, Any]
) -> list[Tested]:
    """The comparisons of a part. Where the table, the arms or the row do not exist, there is one
    that was not run, with the reason."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    name = part["table"]
    if name not in tables:
        return [Tested(described(part, labels), reason=MISSING.format(table=name))]
    if "a" in part:
        missing = [arm for arm in (part["a"], part["b"]) if arm not in labels]
        if missing:
            return [Tested(described(part, labels), reason=f"no arm {' and '.join(missing)}")]
    read = {"contrasts": _contrasts, "runs": _spreads}.get(name, _rows)
    found = list(read(part, tables[name], study, labels))
    if name == "contrasts":
        found = [_with_one_seed(one, part, tables.get("runs")) for one in found]
    return found or [Tested(described(part, labels), reason=NO_ROW.format(table=name))]


def described(part: Mapping[str, Any], labels: Mapping[str, str], outcome: str = "") -> str:
    """What a part compares, in words."""
    if "a" not in part:
        return part["label"]
    a, b = (labels.get(part[side], part[side]) for side in "ab")
    if part["table"] == "runs":
        return f"{a} / {b}, standard deviation of the {part['outcome'].replace('_', ' ')}"
    return f"{a} − {b}, {outcome or part['outcome'].replace('_', ' ').replace(' *', '')}"


def _contrasts(
    part: Mapping, table: pd.DataFrame, study: Mapping, labels: Mapping[str, str]
) -> Iterator[Tested]:
    own = table[[fnmatchcase(name, part["outcome"]) for name in table.outcome]]
    for sign, (a, b) in ((1, (part["a"], part["b"])), (-1, (part["b"], part["a"]))):
        for row in own[(own.arm_a == a) & (own.arm_b == b)].itertuples():
            low, high = sorted((sign * row.low, sign * row.high))
            word = row.verdict if isinstance(row.verdict, str) else NOT_ESTIMABLE
            n = min(row.n_a, row.n_b)
            point = f", at {row.point}" if isinstance(row.point, str) and row.point else ""
            value = sign * row.difference
            yield Tested(
                described(part, labels, row.label + point.replace("at end", "at the end")),
                *(value, low, high, n),
                verdict=said(row).replace(word, word if sign > 0 else flipped(word)),
                answer=of_verdict(word, value, n, part["expected"], row.needs_n),
                reason=row.reason if isinstance(row.reason, str) else "",
                edge=bool(row.edge),
                compound=bool(row.compound),
            )


def _with_one_seed(one: Tested, part: Mapping, runs: pd.DataFrame | None) -> Tested:
    """The comparison with the difference of single runs, which has no interval, so that a source's
    number has ours beside it. The answer stays what it is."""
    if one.n != 1 or np.isfinite(one.value) or runs is None or part["outcome"] not in runs:
        return one
    sound = runs[~runs.diverged.astype(bool)].groupby("arm")[part["outcome"]].mean()
    if not {part["a"], part["b"]} <= set(sound.index):
        return one
    return replace(one, value=float(sound[part["a"]] - sound[part["b"]]))


def _rows(
    part: Mapping, table: pd.DataFrame, study: Mapping, labels: Mapping[str, str]
) -> Iterator[Tested]:
    chosen = pd.Series(True, index=table.index)
    for column, wanted in part["where"].items():
        chosen &= table[column] == wanted if column in table else False
    for row in table[chosen].itertuples():
        value = float(getattr(row, part["value"]))
        numbers = value, float(row.low), float(row.high), float(row.n)
        edge, point = getattr(row, "edge", False), _text(getattr(row, "point", ""))
        yield Tested(
            described(part, labels) + (f", {_place(point)}" if point else ""),
            *numbers,
            verdict=(_text(getattr(row, "said", "")) or said(row)) if "expected" in part else "",
            answer=_answer(part, numbers, row),
            reason=_text(getattr(row, "reason", "")) or _text(getattr(row, "warning", "")),
            edge=edge is True or _text(edge) not in ("", "False"),
        )


def _answer(part: Mapping, numbers: tuple[float, float, float, float], row: Any) -> Answer:
    if "within" in part:
        return in_range(*numbers, *part["within"])
    word = row.verdict if isinstance(row.verdict, str) else NOT_ESTIMABLE
    needs_n = getattr(row, "needs_n", np.nan)
    return of_verdict(word, numbers[0], numbers[3], part["expected"], needs_n)


def _place(point: str) -> str:
    return "at the end" if point == "end" else point if point.startswith("in ") else f"at {point}"


def _spreads(
    part: Mapping, table: pd.DataFrame, study: Mapping, labels: Mapping[str, str]
) -> Iterator[Tested]:
    values = table.assign(value=table[part["outcome"]].where(~table.diverged.astype(bool)))
    a, b = (values[values.arm == part[side]].set_index("seed").value.sort_index() for side in "ab")
    paired = bool(study["training"]["paired"]) and list(a.index) == list(b.index)
    found = ratio_of_deviations(a.to_numpy(), b.to_numpy(), paired, study["alpha"])
    answer = in_range(found.ratio, found.low, found.high, found.n, *part["within"])
    if not np.isnan(answer.needs_n):
        answer = Answer(answer.word, answer.n, found.needs_n)
    yield Tested(described(part, labels), found.ratio, found.low, found.high, found.n, "", answer)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
