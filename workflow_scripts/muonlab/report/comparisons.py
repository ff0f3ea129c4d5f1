"""Rows of contrasts.csv that belong together."""

import pandas as pd

PAIR = ["arm_a", "arm_b"]


def on_all_outcomes(contrasts: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs that are compared on all outcomes. Families and rankings also compare pairs
    on some outcomes alone."""
    if contrasts.empty:
        return contrasts
    counts = contrasts.groupby(PAIR).outcome.transform("nunique")
    return contrasts[counts == contrasts.outcome.nunique()]
