"""What an anchor check is, and how its result is said: shared by the table and the texts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "not applicable"
HEADER = "| Anchor check | Expected | Found | Result |"


@dataclass(frozen=True)
class Checked:
    """The result of one check: what was found (in words and as a number with its interval or range
    over n), and whether that is what was expected. `reason` is given unless the check passes."""

    result: str
    found: str = ""
    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    reason: str = ""


def unanswered(reason: str) -> Checked:
    """A check that the study's records cannot answer."""
    return Checked(NOT_APPLICABLE, reason=reason)


def judged(holds: bool, reason: str, **found) -> Checked:
    """A check that passes if it `holds`; `reason` says why it does not."""
    return Checked(PASS, **found) if holds else Checked(FAIL, reason=reason, **found)


def anchor_line(table: pd.DataFrame) -> str:
    """One line on all checks of anchor_checks.csv: which ones fail or, if none does, how many
    pass and how many do not apply."""
    failed = table[table.result == FAIL]
    idle = int((table.result == NOT_APPLICABLE).sum())
    if len(failed):
        each = "; ".join(f"{row.check} ({row.reason})" for row in failed.itertuples())
        beside = f", {idle} not applicable" if idle else ""
        verb = "fails" if len(failed) == 1 else "fail"
        return (
            f"**{len(failed)} of {len(table) - idle} anchor checks {verb}{beside}: {each}. Until "
            "this is explained, the comparisons below are not to be trusted.**"
        )
    passed = len(table) - idle
    if not passed:
        return f"None of the {idle} anchor checks is applicable to this study."
    beside = f" ({idle} not applicable)" if idle else ""
    if passed == 1:
        return f"The one anchor check that is applicable passes{beside}."
    return f"All {passed} anchor checks pass{beside}."


def anchor_rows(table: pd.DataFrame) -> Iterator[str]:
    """The table of checks in Markdown."""
    yield HEADER
    yield "|---" * HEADER.count(" | ") + "|---|"
    for row in table.itertuples():
        # Where all checks pass, no reason was written, and the column is read back as numbers.
        found = "; ".join(
            text for text in (row.found, row.reason) if isinstance(text, str) and text
        )
        result = f"**{row.result}**" if row.result == FAIL else row.result
        yield f"| {row.check} | {row.expected} | {found} | {result} |"
