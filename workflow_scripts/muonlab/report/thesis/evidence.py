"""What the chapters of the thesis read: the studies' tables, and short sentences on single rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from muonlab.report.numbers import interval
from muonlab.report.words import said
from muonlab.statistics.verdicts import (
    DIFFERENT,
    EQUIVALENT,
    NO_DIFFERENCE,
    NOT_ESTIMABLE,
    flipped,
)

MUON, ADAMW = "muon", "adamw"


@dataclass(frozen=True)
class Study:
    """One study: its facts (`plan.across.study_facts`), all settings of its arms by dotted path,
    and its tables by name, as far as it has them."""

    name: str
    facts: Mapping
    settings: Mapping[str, Mapping]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def title(self) -> str:
        suffix = "" if self.is_fair else f" ({self.facts['protocol']} protocol)"
        return f"{self.facts['title']}{suffix}"

    @property
    def is_fair(self) -> bool:
        return self.facts["protocol"] == "fair"

    @property
    def n(self) -> int:
        return len(self.facts["seeds"])

    def label(self, arm: str) -> str:
        return next(a["label"] for a in self.facts["arms"] if a["name"] == arm)

    def has(self, *arms: str) -> bool:
        return set(arms) <= {arm["name"] for arm in self.facts["arms"]}

    def contrasts(self, outcome: str, a: str = MUON, b: str = ADAMW) -> Iterator[pd.Series]:
        """The comparisons a − b on the outcomes that match a pattern, turned so that it is a −
        b."""
        table = self.tables.get("contrasts")
        if table is None:
            return
        for _, row in table.iterrows():
            if fnmatchcase(row.outcome, outcome) and {row.arm_a, row.arm_b} == {a, b}:
                yield row if row.arm_a == a else turned(row)

    def contrast(self, outcome: str, a: str = MUON, b: str = ADAMW) -> pd.Series | None:
        return next(self.contrasts(outcome, a, b), None)


def read_studies(
    facts: Mapping[str, dict],
    settings: Mapping[str, Mapping[str, Mapping]],
    files: Mapping[str, Mapping[str, Path]],
) -> dict[str, Study]:
    return {
        study: Study(
            study,
            own,
            settings[study],
            {name: pd.read_csv(file) for name, file in files.get(study, {}).items()},
        )
        for study, own in facts.items()
    }


def turned(row: pd.Series) -> pd.Series:
    """The comparison b − a of the row of a − b."""
    sides = {"arm": ("arm_a", "arm_b"), "n": ("n_a", "n_b"), "mean": ("mean_a", "mean_b")}
    new = row.copy()
    for one, other in sides.values():
        new[one], new[other] = row[other], row[one]
    new["difference"], new["low"], new["high"] = -row.difference, -row.high, -row.low
    if isinstance(row.verdict, str):
        new["verdict"] = flipped(row.verdict)
    return new


def numbers(row: pd.Series) -> str:
    """`+0.21 [0.14, 0.28]` of a comparison."""
    return interval(row.difference, row.low, row.high, sign=True)


def sorted_sizes(row: pd.Series) -> tuple[float, float, float]:
    """A decided difference and the ends of its interval without their sign, which the sentence
    says in words."""
    sign = 1 if row.difference > 0 else -1
    low, high = sorted((sign * row.low, sign * row.high))
    return sign * row.difference, low, high


def sentence(study: Study, row: pd.Series, thing: str, unit: str = "", verbs=("", "")) -> str:
    """A comparison of two arms as a sentence that follows its verdict. `thing` is what is compared
    ("final loss"); `verbs` says what a lower and what a higher value means."""
    a, b = study.label(row.arm_a), study.label(row.arm_b)
    n = int(min(row.n_a, row.n_b))
    amount = f"{numbers(row)}{' ' + unit if unit else ''}"
    where = f"{study.title} (n = {n})"
    if row.verdict in DIFFERENT:
        lower = row.difference < 0
        verb = verbs[0 if lower else 1] or f"has a {'lower' if lower else 'higher'} {thing} than"
        sizes = interval(*sorted_sizes(row))
        return f"{where}: {a} {verb} {b}, by {sizes}{' ' + unit if unit else ''}."
    if row.verdict == EQUIVALENT:
        return f"{where}: the {thing} of {a} and {b} is equivalent, {amount}."
    if row.verdict == NO_DIFFERENCE:
        return f"{where}: there is no detectable difference in {thing} between {a} and {b}."
    if row.verdict == NOT_ESTIMABLE or not isinstance(row.verdict, str):
        reason = row.reason if isinstance(row.reason, str) else ""
        return f"{where}: the difference in {thing} is not estimable. {reason}".strip()
    return f"{where}: {thing}, {a} − {b}, {said(row)}: {amount}."


def fair(studies: Mapping[str, Study]) -> list[Study]:
    return [study for study in studies.values() if study.is_fair]


def finite(value: object) -> bool:
    return isinstance(value, (int, float, np.floating, np.integer)) and bool(np.isfinite(value))
