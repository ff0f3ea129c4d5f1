"""The three lines with which a study's findings start: the answer, the claims, and the trust."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.anchors import anchor_line
from muonlab.report.comparisons import compared
from muonlab.report.numbers import interval
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, NO_DIFFERENCE, WORSE

MUON, ADAMW, LOSS = "muon", "adamw", "final_loss"


def lead_lines(
    contrasts: pd.DataFrame,
    labels: Mapping[str, str],
    families: Sequence[Mapping],
    anchor_checks: pd.DataFrame | None,
) -> Iterator[str]:
    """At most three lines, each a paragraph of its own in a list."""
    yield f"- {answer(contrasts, labels)}"
    if told := claims_decided(contrasts, families):
        yield f"- {told}"
    if anchor_checks is not None:
        yield f"- {anchor_line(anchor_checks)}"


def answer(contrasts: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Who ends lower, Muon or AdamW, by how much, and over how many seeds."""
    found = compared(contrasts, LOSS, MUON, ADAMW)
    if found is None:
        return "The study does not compare Muon with AdamW."
    muon, adamw = f"**{labels[MUON]}", f"{labels[ADAMW]}**"
    seeds = f"{found.n} seed{'s' if found.n != 1 else ''}"
    numbers = seeds
    if np.isfinite(found.difference):
        numbers = f"{interval(found.difference, found.low, found.high, sign=True)} nats, {seeds}"
    if found.verdict == BETTER:
        return f"{muon} ends at a lower loss than {adamw} ({numbers})."
    if found.verdict == WORSE:
        return f"{muon} ends at a higher loss than {adamw} ({numbers})."
    if found.verdict == EQUIVALENT:
        return f"{muon} and {adamw} end at equivalent losses ({numbers})."
    if found.verdict == NO_DIFFERENCE:
        return f"{muon} and {adamw} show no detectable difference in loss ({seeds})."
    return f"{muon} and {adamw}: which ends lower is {found.said} ({numbers})."


def claims_decided(contrasts: pd.DataFrame, families: Sequence[Mapping]) -> str:
    """How many of the study's declared claims have a decided comparison; empty without claims."""
    declared = [family for family in families if family["declared"]]
    words = {f["name"]: contrasts.verdict[contrasts.family == f["name"]] for f in declared}
    sure = (*DIFFERENT, EQUIVALENT, NO_DIFFERENCE)
    whole = sum(bool(len(own)) and own.isin(sure).all() for own in words.values())
    parts = sum(own.isin(sure).any() and not own.isin(sure).all() for own in words.values())
    if not declared:
        return ""
    told = f"Of {len(declared)} declared claim{'s' if len(declared) > 1 else ''} "
    told += f"{whole} {'is' if whole == 1 else 'are'} decided"
    told += f", {parts} in part" if parts else ""
    left = len(declared) - whole - parts
    return f"{told} and {left} {'is' if left == 1 else 'are'} open."
