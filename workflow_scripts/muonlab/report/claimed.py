"""Sentences on the claims that a study declares, and on what its number of seeds can see."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.achieved import achieved, place
from muonlab.report.numbers import interval, number
from muonlab.report.words import said
from muonlab.statistics.verdicts import DIFFERENT, EQUIVALENT, NOT_ESTIMABLE, rounded_n

FEW = 4  # comparisons of a family that are all told


def claim_sentences(
    contrasts: pd.DataFrame, labels: Mapping[str, str], families: Sequence[Mapping]
) -> Iterator[str]:
    """One item for each family that the config declares: its claim, and the difference, interval
    and verdict of each of its comparisons. Factorials, which declare none, have their own text."""
    for family in families:
        if family["declared"]:
            rows = contrasts[contrasts.family == family["name"]]
            claim = family["claim"] or family["name"].replace("_", " ")
            count = f"{family['size']} comparison{'s' if family['size'] > 1 else ''}"
            yield f"- *{claim.rstrip('.')}* ({count}): {_found(rows, labels)}."


def _found(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """The comparisons of one family; of many, those that are decided, and how many are not."""
    told = rows if len(rows) <= FEW else rows[rows.verdict.isin([*DIFFERENT, EQUIVALENT])]
    found = [_comparison(row, labels) for row in told.itertuples()]
    rest = rows.drop(told.index).verdict.value_counts(sort=False)
    others = "the other" if found else "all"
    found += [f"{others} {count} {verdict}" for verdict, count in rest.items()]
    return "; ".join(found)


def power_sentences(contrasts: pd.DataFrame) -> Iterator[str]:
    """One item for each outcome whose declared smallest difference is below what the seeds can see
    in some comparisons, and how many seeds it needs there."""
    known = contrasts[contrasts.mdd_80.notna() & contrasts.sesoi.notna()]
    for _, own in known.groupby("outcome", sort=False):
        weak = own[own.mdd_80 > own.sesoi]
        if len(weak):
            first = own.iloc[0]
            seen, needed = _range(weak.mdd_80, shown=number), _range(weak.sesoi_n, shown=rounded_n)
            yield (
                f"- {first.label}: the declared smallest difference, {first.sesoi:g}, is smaller "
                f"than what n = {_range(weak[['n_a', 'n_b']].min(axis=1), shown='{:g}'.format)} "
                f"seeds see with a power of 80 % in {len(weak)} of {len(own)} comparisons "
                f"({seen}); they need n ≈ {needed}."
            )


def _comparison(row, labels: Mapping[str, str]) -> str:
    words = f"{row.label}{place(row.point)}, {labels[row.arm_a]} − {labels[row.arm_b]}"
    if row.verdict == NOT_ESTIMABLE:
        return f"{words}: {NOT_ESTIMABLE} ({str(row.reason).rstrip('.')})"
    numbers = interval(row.difference, row.low, row.high, sign=True)
    return f"{words}: {numbers}{achieved(row)}, **{said(row)}**"


def _range(values: pd.Series, shown: Callable[[float], str]) -> str:
    """The lowest and the highest of some numbers: "4 to 12", or "4" where both read alike."""
    ends = [values.min(), values.max()]
    texts = ["more than 1,000,000" if np.isinf(end) else shown(end) for end in ends]
    return " to ".join(dict.fromkeys(texts))
