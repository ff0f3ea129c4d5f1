"""The few sentences that the front page says of each study, computed from its kept tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from muonlab.report.numbers import interval, number
from muonlab.report.words import said
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, NO_VERDICT, WORSE

LOSS, ACCURACY, FINAL_LOSS = "test_loss", "test_accuracy", "final_loss"
DECAY = "muon_beats_adamw_with_decay"  # a family of both arms with a rate that decays, tuned anew
SIDES = {BETTER: "lower than", WORSE: "higher than"}
UNITS = {"step": "steps"}  # seconds depend on the machine and on what else it does


@dataclass(frozen=True)
class Kept:
    """A study whose tables lie in `folder`: its name, title and data, its `size` as it is said in a
    sentence, what its `interval` is called, and the same study on new seeds (`again`), if any."""

    name: str
    title: str
    data: str
    size: str
    interval: str
    folder: Path
    again: "Kept | None" = None

    def table(self, name: str) -> pd.DataFrame | None:
        """A kept table, or None if the study has none of this name."""
        file = self.folder / f"{name}.csv"
        return pd.read_csv(file) if file.exists() else None


def headline(studies: Iterable[Kept], a: str = "muon", b: str = "adamw") -> Iterator[str]:
    """One item for each study, of several sizes the one that comes first: what became of the
    difference of the arms a − b, and how much of a published gap is left."""
    seen = set()
    for study in studies:
        if study.name in seen:
            continue
        contrasts = study.table("contrasts")
        rows = _rows(contrasts, a, b)
        if LOSS not in rows.index:
            continue
        seen.add(study.name)
        parts = [_loss(rows.loc[LOSS], study), _on_new_seeds(study, a, b)]
        parts += [_accuracy(rows), _decay(contrasts, study)]
        again = _speed_up(study.again, a) if study.again else ""
        parts += [_gap(study), _speed_up(study, a), again and f"On the new seeds: {again}"]
        opening = f"**{study.title}** ({study.data}, {study.size})"
        yield f"{opening}: {' '.join(part for part in parts if part)}"


def _rows(contrasts: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The comparisons a − b, by outcome."""
    return contrasts[(contrasts.arm_a == a) & (contrasts.arm_b == b)].set_index("outcome")


def _on_new_seeds(study: Kept, a: str, b: str) -> str:
    rows = _rows(study.again.table("contrasts"), a, b) if study.again else pd.DataFrame()
    if LOSS not in rows.index:
        return ""
    return _opening(_loss(rows.loc[LOSS], study.again, "on new seeds"))


def _loss(row, study: Kept, tuned: str = "with both tuned alike") -> str:
    """Who ends lower. `tuned` says under which tuning, or on which seeds."""
    numbers = f"{_interval(row)} nats, {study.interval} interval, {row.n_a} paired seeds"
    if row.verdict in SIDES:
        return f"{tuned}, Muon's test loss is {SIDES[row.verdict]} AdamW's ({numbers})."
    if row.verdict == EQUIVALENT:
        return (
            f"{tuned}, Muon and AdamW end at the same test loss, to within "
            f"{number(row.sesoi)} nats ({numbers})."
        )
    if row.verdict == NO_VERDICT:
        return f"there are too few seeds for a verdict ({numbers})."
    return (
        f"{tuned}, the test losses of Muon and AdamW cannot be told apart ({numbers}; {said(row)})."
    )


def _accuracy(rows: pd.DataFrame) -> str:
    if ACCURACY not in rows.index or rows.loc[ACCURACY].verdict not in DIFFERENT:
        return ""
    row = rows.loc[ACCURACY]
    points = interval(*(100 * row[["difference", "low", "high"]]), sign=True)
    return f"Its test accuracy differs by {points} percentage points."


def _decay(contrasts: pd.DataFrame, study: Kept) -> str:
    """The same with a rate that decays, where the study has tuned both sides for that once more."""
    own = contrasts[(contrasts.family == DECAY) & (contrasts.outcome == LOSS)]
    if own.empty:
        return ""
    row = own.iloc[0]
    loss = _loss(row, study, "with a rate that decays, and both tuned for that")
    return f"{_opening(loss)} {_speed_up(study, row.arm_a)}".strip()


def _gap(study: Kept) -> str:
    """How much is left of the gap of the first step of the study's waterfall."""
    table = study.table("waterfall")
    if table is None or len(table) < 2:
        return ""
    first, last = table.iloc[0], table.iloc[-1]
    if not (np.isfinite(first.gap) and np.isfinite(last.gap)):
        return ""
    return (
        f"Of the gap with “{first.label}”, {number(first.gap, sign=True)} nats, "
        f"{number(last.gap, sign=True)} are left with “{last.label}”."
    )


def _speed_up(study: Kept, arm: str) -> str:
    table = study.table("speed_up")
    if table is None:
        return ""
    rows = table[(table.arm == arm) & (table.method == "lengths") & table.unit.isin(UNITS)]
    rows = list(rows.dropna(subset="ratio").itertuples())
    if not rows:
        return ""
    found = [f"{row.said} the {UNITS[row.unit]}" for row in rows]
    told = [getattr(row, "warning", "") for row in rows]
    warned = [warning for warning in told if isinstance(warning, str) and warning]
    needs = " and ".join(found)
    warning = f", which fails this project's own check ({warned[0]})" if warned else ""
    if not all(row.low < 1 < row.high for row in rows):
        return f"AdamW needs {needs} to end as low{warning}."
    sentence = f"Whether AdamW must run longer to end as low is undecided ({needs})"
    if warned and _longer_runs_gain_nothing(study, rows[0].baseline):
        return (
            f"{sentence}: none of its longer runs is shown to end lower than its shortest, so this "
            f"ratio, which fails this project's own check, says little."
        )
    return f"{sentence}{warning}."


def _longer_runs_gain_nothing(study: Kept, baseline: str) -> bool:
    """Whether the baseline was run longer, and no longer run is shown to end lower."""
    contrasts, runs = study.table("contrasts"), study.table("runs")
    if runs is None:
        return False
    steps = runs.groupby("arm").steps.max()
    own = contrasts[(contrasts.arm_b == baseline) & (contrasts.outcome == FINAL_LOSS)]
    longer = own[own.arm_a.map(steps) > steps.get(baseline, np.inf)]
    return len(longer) > 0 and not (longer.verdict == BETTER).any()


def _opening(sentence: str) -> str:
    """The sentence with a capital letter, as it stands behind another."""
    return sentence[:1].upper() + sentence[1:]


def _interval(row) -> str:
    return interval(row.difference, row.low, row.high, sign=True)
