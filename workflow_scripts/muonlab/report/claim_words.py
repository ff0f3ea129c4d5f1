"""How the verdicts on claims are said and coloured in pages, figures and documents."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muonlab.report.numbers import interval, number
from muonlab.statistics.decisions import DEPENDS, FAILS, HOLDS, NOT_RUN
from muonlab.statistics.verdicts import NO_DIFFERENCE

UNITS = {"nats": " nats", "times": " ×", "octaves": " octaves", "share of a step": " of a step"}


def by_claim(table: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """The rows of each claim, in the order of their numbers."""
    yield from table.groupby("number", sort=False)


def deciding(rows: pd.DataFrame, protocol: str = "fair") -> pd.DataFrame:
    """The comparisons that decide under a protocol."""
    return rows[rows.decides.fillna("").str.contains(protocol)]


def ran(rows: pd.DataFrame, protocol: str = "fair") -> pd.DataFrame:
    return rows[rows[f"{protocol}_answer"] != NOT_RUN]


def measured(row, protocol: str) -> str:
    """Our number under a protocol, with its interval and n: "−0.142 [−0.285, −0.0001] (n = 5)"."""
    value, low, high, n = (
        getattr(row, f"{protocol}_{name}") for name in ("value", "low", "high", "n")
    )
    if not np.isfinite(value):
        return "" if getattr(row, f"{protocol}_answer") == NOT_RUN else "—"
    return f"{interval(value, low, high, sign=_is_signed(row))} (n = {n:g})"


def printed(row) -> str:
    """The number of the source: "−2.51 nats", or "" where it prints none."""
    if not np.isfinite(row.source_value):
        return ""
    unit = row.source_unit if isinstance(row.source_unit, str) else ""
    signed = isinstance(row.source_printed, str) and "," in row.source_printed
    return f"{number(row.source_value, sign=signed)} {unit}".strip()


def colour_of(said: str) -> str:
    """The name of the colour of a verdict, for styles of figures and pages: its first words."""
    for word, name in (
        (HOLDS, "holds"),
        (FAILS, "fails"),
        (DEPENDS, "depends"),
        (NO_DIFFERENCE, "fails"),
        (NOT_RUN, "none"),
    ):
        if said == word:
            return name
    return "open"


def counted(table: pd.DataFrame) -> dict[str, int]:
    """How many claims have each verdict, without the numbers of seeds: {"holds": 3, …}."""
    found: dict[str, int] = {}
    for _, rows in by_claim(table):
        word = str(rows.verdict.iloc[0]).split(" (")[0]
        found[word] = found.get(word, 0) + 1
    return found


def summary_sentence(table: pd.DataFrame) -> str:
    """How many of the claims hold, do not hold, are undecided and were not run."""
    found = counted(table)
    total = sum(found.values())
    order = [HOLDS, FAILS, DEPENDS, NO_DIFFERENCE, "undecided", "no verdict", "not estimable"]
    parts = [f"{found[word]} {_verb(word, found[word])}" for word in order if word in found]
    if NOT_RUN in found:
        parts.append(f"{found[NOT_RUN]} {'was' if found[NOT_RUN] == 1 else 'were'} not run")
    told = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)
    return f"Of {total} published claims {told}."


def _verb(word: str, count: int) -> str:
    one = count == 1
    return {
        HOLDS: "holds" if one else "hold",
        FAILS: "does not hold" if one else "do not hold",
        DEPENDS: "depends on the study" if one else "depend on the study",
        NO_DIFFERENCE: "shows no detectable difference" if one else "show no detectable difference",
        "undecided": "is undecided" if one else "are undecided",
        "no verdict": "has too few seeds" if one else "have too few seeds",
        "not estimable": "cannot be estimated",
    }[word]


def _is_signed(row) -> bool:
    return row.unit not in ("ratio", "times", "share of a step")
