"""Where Muon's lead grows and where it vanishes, in sentences computed from the tables."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muonlab.declare import text
from muonlab.report.gains import BRACKETED, TUNED
from muonlab.report.waterfall import number
from muonlab.statistics.gain_trend import GROWS, SHRINKS
from muonlab.statistics.verdicts import BETTER, EQUIVALENT, WORSE


@text(
    title="where Muon's lead grows",
    section="experiments",
    caption="What becomes of the difference Muon − AdamW of **{title}** over sizes, batches, "
    "lengths and data, in sentences that are computed from the tables of gains.",
)
def where_it_gains(gains_table: pd.DataFrame, gain_trends: pd.DataFrame, study: dict) -> str:
    """The trends, then at which levels Muon is better, worse or equivalent."""
    return "\n".join(_lines(gains_table, gain_trends, study)) + "\n"


def _lines(gains: pd.DataFrame, trends: pd.DataFrame, study: dict) -> Iterator[str]:
    yield f"# {study['title']}: where Muon's lead grows and where it vanishes"
    yield ""
    yield (
        f"Protocol: {study['protocol']}. Differences are final losses of Muon minus AdamW in nats, "
        f"paired by seed; below 0 Muon is better. Of the {len(gains)} differences, those over four "
        f"seeds or more have simultaneous {study['interval']} intervals, and so have the "
        f"{len(trends)} trends."
    )
    yield ""
    yield "## With the dose"
    yield ""
    for row in trends.itertuples():
        yield f"- {row.factor_label}: {_trend(row)}"
    yield ""
    yield "## At each level"
    yield ""
    gains = _once(gains)
    for kind in (TUNED, BRACKETED):
        own = gains[gains.rate == kind]
        for word, said in ((BETTER, "better"), (WORSE, "worse"), (EQUIVALENT, "equivalent")):
            rows = own[own.gain_verdict == word]
            if len(rows):
                listed = "; ".join(_level(row) for row in rows.itertuples())
                yield f"- Rates {kind}, Muon is {said}: {listed}."
        others = own[~own.gain_verdict.isin([BETTER, WORSE, EQUIVALENT])]
        if len(others):
            listed = "; ".join(f"{_level(row)}, {row.gain_said}" for row in others.itertuples())
            yield f"- Rates {kind}, no difference is shown: {listed}."
    edges = gains[gains.edge.fillna("") != ""]
    if len(edges):
        listed = "; ".join(f"{row.named}: {row.edge}" for row in edges.itertuples())
        yield ""
        yield (
            "Where the best multiple of the rate is the outermost one, a better one may lie "
            f"outside: {listed}."
        )


def _once(gains: pd.DataFrame) -> pd.DataFrame:
    """The table with the study as it stands, which is a level of every factor, in one row."""
    itself = gains.own & (gains.rate == TUNED)
    told = gains.assign(named=gains.factor_label + ", " + gains.label)
    told.loc[itself, "named"] = "the study as it stands"
    return told[~(itself & itself.cumsum().gt(1))]


def _level(row) -> str:
    return f"{row.named} ({number(row.gain, row.gain_low, row.gain_high)}, n = {row.n})"


def _trend(row) -> str:
    told = f"{number(row.slope, row.slope_low, row.slope_high)} for each doubling (n = {row.n})"
    if row.verdict in (GROWS, SHRINKS):
        return f"Muon's lead **{row.verdict}**, {told}."
    reason = f" {row.reason}" if isinstance(row.reason, str) and row.reason else ""
    if not np.isfinite(row.slope):
        return f"**{row.verdict}**.{reason}"
    return f"**{row.verdict}**, {told}.{reason}"
