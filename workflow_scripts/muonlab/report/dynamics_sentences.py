"""Sentences on the published claims on training dynamics, from dynamics_claims.csv."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.achieved import place
from muonlab.report.descent import CURVATURE
from muonlab.report.dynamics import ALIGNMENT, CONSISTENCY, ENTROPY, LATE, STRETCHING
from muonlab.report.sentences import interval
from muonlab.report.setting_claims import FAILS, HOLDS, OPEN
from muonlab.statistics.verdicts import DIFFERENT, EQUIVALENT

CLAIMS = {
    STRETCHING: "Deep layers stretch: under Muon σ₁ grows with depth, more than under AdamW",
    ALIGNMENT: "Muon's updates are less aligned with the weights than AdamW's, beyond chance",
    ENTROPY: "Weights trained by Muon have a higher spectral entropy",
    CONSISTENCY: "Muon varies less from seed to seed than AdamW",
    CURVATURE: "At equal loss curvature takes less from an update of Muon, by a lower sharpness",
}


def dynamics_sentences(
    claims: pd.DataFrame, runs: pd.DataFrame, labels: Mapping[str, str], study: Mapping
) -> Iterator[str]:
    """One item for each claim and pair of arms: whether it holds, and each comparison behind it;
    then what the records cost. `claims` has the rows of dynamics_claims.csv and, where there are
    any, of descent.csv; `runs` is runs.csv."""
    if claims.empty:
        yield "No two arms differ in the optimizer alone, so no claim can be examined."
        return
    yield (
        "A claim holds where every comparison behind it has the verdict that it asks for, and does "
        "not hold where one has another. Each comparison is shown with its simultaneous "
        f"{study['interval']} interval. Stretching is the change over training of the slope of "
        "ln σ₁ over depth, as the mean over the components of the hidden layers."
    )
    yield ""
    for (number, pair), own in claims.groupby(["claim", _pair_of(claims)], sort=False):
        a, b = pair
        found = "; ".join(_comparison(row, labels) for row in asked(own).itertuples())
        arms = f"{labels[a]} against {labels[b]}"
        yield f"- *{CLAIMS[number]}* ({arms}): **{judged(own)}**. {found}."
    yield from _costs(runs, labels)


def judged(rows: pd.DataFrame) -> str:
    """Whether a claim holds, from the verdicts of its comparisons and those that it asks for."""
    rows = asked(rows)
    if (rows.verdict == rows.expected).all():
        return HOLDS
    decided = rows[rows.verdict.isin([*DIFFERENT, EQUIVALENT])]
    return FAILS if (decided.verdict != decided.expected).any() else OPEN


def asked(rows: pd.DataFrame) -> pd.DataFrame:
    """The comparisons for which a claim asks for a verdict; the tables show others beside them."""
    return rows[rows.expected.notna() & (rows.expected != "")]


def _pair_of(claims: pd.DataFrame) -> pd.Series:
    """The pair of arms of each row; a row about one arm belongs to the pair that follows it."""
    other = claims.arm_b.where(claims.arm_b.notna() & (claims.arm_b != ""))
    other = other.bfill()
    return pd.Series(list(zip(claims.arm_a, other, strict=True)), index=claims.index)


def _comparison(row, labels: Mapping[str, str]) -> str:
    arms = labels[row.arm_a]
    if isinstance(row.arm_b, str) and row.arm_b:
        arms += f" − {labels[row.arm_b]}"
    at = f", {row.point}" if row.point == LATE else place(row.point)
    words = f"{row.quantity}{at}, {arms}"
    if not np.isfinite(row.low):
        value = f"{row.difference:+.3g}, " if np.isfinite(row.difference) else ""
        return f"{words}: {value}{row.said.rstrip('.')}"
    return f"{words}: {interval(row.difference, row.low, row.high, '+')}, {row.said}"


def _costs(runs: pd.DataFrame, labels: Mapping[str, str]) -> Iterator[str]:
    """What recording took, as a share of the seconds of training of each arm."""
    parts = []
    for arm, own in runs.groupby("arm", sort=False):
        training, watching = own.seconds_in_updates.sum(), own.seconds_in_watching.sum()
        if training > 0:
            parts.append(f"{100 * watching / (training + watching):.1f} % ({labels[arm]})")
    if parts:
        yield ""
        yield f"Share of the seconds of training that records took: {', '.join(parts)}."
