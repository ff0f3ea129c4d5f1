"""Who leads early and who ends lower, in sentences computed from early_phase.csv."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from muonlab.report.numbers import interval, number
from muonlab.statistics.verdicts import DIFFERENT, HIGHER, LOWER


def early_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each arm: how soon it is at a common loss, who ends lower, and where the
    mean curves cross."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for row in table.itertuples():
        first, second = labels[row.arm], labels[row.against]
        if not np.isfinite(row.final):
            yield f"- {first} and {second} cannot be compared, since a run diverged."
            continue
        yield f"- {_level(row, first, second)}{_end(row, first, second)} {_lead(row, labels)}"


def when(steps: float, row) -> str:
    """Steps, or epochs where runs are planned in epochs: "epoch 10.2"."""
    if np.isinf(steps):
        return "never"
    if np.isfinite(row.epoch):
        return f"in epoch {steps / row.epoch:.1f}"
    return f"at step {steps:.0f}"


def _level(row, first: str, second: str) -> str:
    """When each arm is at the common loss: the arm that is there sooner is named first."""
    turned = row.against_steps < row.arm_steps
    times = [(first, row.arm_steps), (second, row.against_steps)]
    (sooner, soon), (later, late) = times[::-1] if turned else times
    said = f"{sooner} is at loss {row.level:.3g} {when(soon, row)}, {later} {when(late, row)}"
    unit, per = ("epochs", row.epoch) if np.isfinite(row.epoch) else ("steps", 1.0)
    if np.isfinite(row.level_steps_low):
        sign = -1 if turned else 1
        ends = sorted(-sign * end / per for end in (row.level_steps_low, row.level_steps_high))
        said += f" ({unit} apart: {interval(abs(row.level_steps) / per, *ends)}"
        shown = row.level_steps_verdict in (LOWER, HIGHER)
        said += ")" if shown else f"; {row.level_steps_said})"
    return said


def _end(row, first: str, second: str) -> str:
    """Who ends lower, joined to who was sooner."""
    turned = row.against_steps < row.arm_steps
    numbers = interval(row.final, row.final_low, row.final_high, sign=True)
    numbers += f" nats, {first} − {second}"
    if row.final_verdict not in DIFFERENT:
        why = row.final_said.rstrip(".")
        return f"; which of them ends lower is not shown ({numbers}: {why})."
    lower = first if row.final < 0 else second
    sooner = second if turned else first
    joined = "and ends lower too" if lower == sooner else f"and yet {lower} ends lower"
    return f", {joined} ({numbers})."


def _lead(row, labels: dict[str, str]) -> str:
    """Who leads at the early evaluation, and where the mean curves cross for the last time."""
    numbers = number(row.early, sign=True)
    if row.early_verdict in (LOWER, HIGHER):
        leader = labels[row.arm if row.early_verdict == LOWER else row.against]
        said = f"{when(row.early_step, row).capitalize()}, {leader} leads ({numbers} nats)"
    else:
        said = f"{when(row.early_step, row).capitalize()}, neither leads clearly ({numbers} nats)"
    if np.isfinite(row.crossing):
        return f"{said}; the mean curves cross for the last time {when(row.crossing, row)}."
    return f"{said}; the mean curves do not cross."
