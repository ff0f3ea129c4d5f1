"""Where a published gap goes, in sentences computed from waterfall.csv."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muonlab.report.numbers import interval
from muonlab.statistics.verdicts import HIGHER, LOWER


def waterfall_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """The first and the last gap, then what each correction changed, the largest first."""
    first, last = table.iloc[0], table.iloc[-1]
    yield (
        "Gaps are losses of Muon minus AdamW in nats, seed by seed, with simultaneous "
        f"{study['interval']} intervals (n = {first.n}). {_said_gap(first)} {_said_gap(last)}"
    )
    yield ""
    if np.isfinite(first.gap) and np.isfinite(last.gap) and first.gap:
        share = 100 * (1 - last.gap / first.gap)
        size = f"{abs(share):.0f} % of the first gap"
        said = f"{size} is gone at the end" if share >= 0 else f"The gap has grown by {size}"
        yield f"{said}. Each correction, the largest first:"
        yield ""
    steps = table.iloc[1:]
    order = steps.change.abs().sort_values(ascending=False, kind="stable").index
    for row in steps.loc[order].itertuples():
        yield f"- {row.label}: {_said_change(row)}"


def number(value: float, low: float, high: float) -> str:
    """A signed number with its interval, where it has one: "+0.210 [0.140, 0.280]"."""
    if not np.isfinite(value):
        return "not estimable"
    return interval(value, low, high, sign=True)


def _said_gap(row) -> str:
    return f"With “{row.label}” the gap is {number(row.gap, row.gap_low, row.gap_high)}."


def _said_change(row) -> str:
    told = number(row.change, row.change_low, row.change_high)
    if row.change_verdict not in (HIGHER, LOWER):
        return f"{told} ({row.change_said.rstrip('.')})."
    return f"{told}, which {'closes' if abs(row.gap) < abs(row.before) else 'widens'} the gap."
