"""Rows of contrasts.csv that belong together, and the one that compares two arms."""

import pandas as pd

from muonlab.report.words import said
from muonlab.statistics.paired import Paired
from muonlab.statistics.verdicts import flipped

PAIR = ["arm_a", "arm_b"]


def on_all_outcomes(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs that are compared on all outcomes. Families and rankings also compare pairs
    on some outcomes alone."""
    if contrasts.empty:
        return contrasts
    counts = contrasts.groupby(PAIR).outcome.transform("nunique")
    return contrasts[counts == contrasts.outcome.nunique()]


def compared(contrasts: pd.DataFrame | None, outcome: str, a: str, b: str) -> Paired | None:
    """The difference of the arms a − b on an outcome, if `contrasts` (contrasts.csv) has it, in
    either direction. Other tables that show this difference take it from here, so that it has one
    interval and one verdict everywhere."""
    if contrasts is None:
        return None
    on = contrasts[contrasts.outcome == outcome]
    for row in on[(on.arm_a == a) & (on.arm_b == b)].itertuples():
        n = int(min(row.n_a, row.n_b))
        return Paired(n, row.difference, row.low, row.high, row.verdict, said(row))
    for row in on[(on.arm_a == b) & (on.arm_b == a)].itertuples():
        word = flipped(row.verdict)
        n, told = int(min(row.n_a, row.n_b)), said(row._replace(verdict=word))
        return Paired(n, -row.difference, -row.high, -row.low, word, told)
    return None
