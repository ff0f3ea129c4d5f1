"""The six questions of the research plan, each answered from the tables: other numbers, other
answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from muonlab.report.numbers import interval, number
from muonlab.report.thesis.evidence import ADAMW, MUON, Study, fair, finite, sentence
from muonlab.statistics.decisions import in_range
from muonlab.statistics.spread import ratio_of_deviations
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, NO_DIFFERENCE, WORSE

MUON_WINS, ADAMW_WINS, SAME, OPEN = "Muon", "AdamW", "neither", "open"


@dataclass(frozen=True)
class Question:
    """A question, its short answer, and the sentences behind it."""

    asked: str
    answer: str
    evidence: tuple[str, ...]


def questions(studies: Mapping[str, Study]) -> list[Question]:
    """All six, over the studies under the fair protocol that have an arm of each optimizer."""
    own = [study for study in fair(studies) if study.has(MUON, ADAMW)]
    better, faster, cost = ends_better(own), trains_faster(own), costs(own)
    return [
        better,
        faster,
        more_stable(own),
        components(own),
        cost,
        preferred(own),
    ]


def ends_better(studies: Sequence[Study]) -> Question:
    found, told = [], []
    for study in studies:
        for outcome, thing in (("final_loss", "validation loss"), ("test_loss", "test loss")):
            row = study.contrast(outcome)
            if row is not None:
                told.append(sentence(study, row, thing, "nats"))
                if outcome == "final_loss":
                    found.append(_winner(row))
        row = study.contrast("test_accuracy")
        if row is not None and study.facts["kind"] == "images":
            told.append(sentence(study, row, "test accuracy"))
    answer = _over(found, studies, "{} ends at the lower loss", "which of them ends lower")
    return Question("Which optimizer achieves better final performance?", answer, tuple(told))


def trains_faster(studies: Sequence[Study]) -> Question:
    found, told = [], []
    for study in studies:
        rows = list(study.contrasts("step_at_loss_*"))
        if rows:
            lowest = rows[-1]
            told.append(
                sentence(study, lowest, "number of steps to the lowest common loss", "steps")
            )
            found.append(_faster(study) or _winner(lowest))
        table = study.tables.get("speed_up")
        for row in () if table is None else table[table.method == "lengths"].itertuples():
            if finite(row.ratio) and row.unit in ("step", "second"):
                warned = f" ({row.warning})" if isinstance(row.warning, str) else ""
                told.append(
                    f"{study.title} (n = {row.n}): to {study.label(row.arm)}'s final loss a tuned "
                    f"{study.label(row.baseline)} with a schedule of its own length needs "
                    f"{interval(row.ratio, row.low, row.high)} times as many {row.unit}s{warned}."
                )
    answer = _over(
        found, studies, "{} needs fewer steps to the same loss", "which needs fewer steps"
    )
    return Question("Which optimizer trains faster?", answer, tuple(told))


def _faster(study: Study) -> str | None:
    """Who needs fewer steps to Muon's final loss where AdamW was also trained longer, each with a
    schedule of its own length; None where it was not. It is the stronger comparison: at a loss that
    both pass on the way, the two schedules differ."""
    row = _speed_up(study, "step")
    if row is None or row[1] <= 1 <= row[2]:
        return None
    return MUON_WINS if row[1] > 1 else ADAMW_WINS


def more_stable(studies: Sequence[Study]) -> Question:
    found, told = [], []
    for study in studies:
        runs = study.tables["runs"]
        a, b = (runs[runs.arm == arm].sort_values("seed") for arm in (MUON, ADAMW))
        lost = [int(own.diverged.sum()) for own in (a, b)]
        told.append(
            f"{study.title}: {lost[0]} of {len(a)} runs of {study.label(MUON)} and {lost[1]} of "
            f"{len(b)} of {study.label(ADAMW)} diverged."
        )
        spread = ratio_of_deviations(
            a.final_loss.to_numpy(), b.final_loss.to_numpy(),
            bool(study.facts["training"]["paired"]), study.facts["alpha"],
        )  # fmt: skip
        answer = in_range(spread.ratio, spread.low, spread.high, spread.n, 0.0, 1.0)
        above = in_range(spread.ratio, spread.low, spread.high, spread.n, 1.0, float("inf"))
        found.append({"holds": MUON_WINS}.get(answer.word) or
                     {"holds": ADAMW_WINS}.get(above.word, OPEN))  # fmt: skip
        if finite(spread.ratio):
            told.append(
                f"{study.title} (n = {spread.n}): the standard deviation of the final loss over "
                f"seeds is {interval(spread.ratio, spread.low, spread.high)} times as large under "
                f"{study.label(MUON)} as under {study.label(ADAMW)}."
            )
        told += _steadiness(study)
    answer = _over(found, studies, "{} varies less from seed to seed", "which varies less")
    return Question("Which optimizer is more stable?", answer, tuple(told))


def _steadiness(study: Study) -> Iterator[str]:
    """The spikes and the variation of gradient norms, where the table compares the two arms."""
    table = study.tables.get("convergence")
    if table is None or "difference" not in table:
        return
    own = table[(table.arm == MUON) & (table.against == ADAMW)]
    own = own[own.metric.str.contains("spikes|gradient_variation|loss_variance")]
    for row in own.itertuples():
        if finite(row.difference):
            numbers = interval(row.difference, row.difference_low, row.difference_high, sign=True)
            yield f"{study.title} (n = {row.n}): {row.label}, Muon − AdamW: {numbers}."


def components(studies: Sequence[Study]) -> Question:
    told, raised = [], []
    for study in studies:
        for outcome, thing in (
            ("spectral_entropy_*", "spectral entropy of the hidden weights"),
            ("effective_rank_*", "effective rank of the hidden weights"),
        ):
            rows = list(study.contrasts(outcome))
            for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
                point = " at the end" if row.point == "end" else " at the lowest common loss"
                told.append(sentence(study, row, thing + point))
            if rows and outcome.startswith("spectral"):
                raised += [row.verdict for row in rows]
        if (
            study.has("muon_hybrid")
            and (row := study.contrast("final_loss", MUON, "muon_hybrid")) is not None
        ):
            told.append(sentence(study, row, "validation loss", "nats"))
        told += _contributions(study)
    shown = [word for word in raised if word in DIFFERENT]
    if shown and all(word == shown[0] for word in raised):
        answer = f"Muon leaves the hidden weights with a {shown[0]} spectral entropy than AdamW."
    elif raised:
        answer = "A difference between the weights' spectra is not shown at every loss."
    else:
        answer = "No study measured the components of both optimizers."
    asked = "How do the optimizers affect different components of the model?"
    return Question(asked, answer, tuple(told))


def _contributions(study: Study) -> Iterator[str]:
    table = study.tables.get("factorials")
    if table is None:
        return
    for label, own in table.groupby("factorial", sort=False):
        for row in own[own.effect == "contribution"].itertuples():
            numbers = interval(row.value, row.low, row.high, sign=True)
            yield (
                f"{study.title} (n = {row.n}), {label}: removing {row.component} changes the loss "
                f"by {numbers} nats ({row.verdict})."
            )


def costs(studies: Sequence[Study]) -> Question:
    told, shares = [], []
    for study in studies:
        table = study.tables.get("overhead")
        if table is None:
            continue
        for quantity, words in (
            ("newton_schulz_of_step", "of a step's time"),
            ("newton_schulz_of_optimizer", "of the optimizer's time"),
        ):
            for row in table[(table.arm == MUON) & (table.quantity == quantity)].itertuples():
                if not finite(row.value):
                    continue
                values = [100 * v for v in (row.value, row.low, row.high)]
                told.append(f"{study.title}: Newton–Schulz takes {interval(*values)} % {words}.")
                if quantity == "newton_schulz_of_step":
                    shares.append(row.value)
    for study in studies:
        told += _seconds(study)
    if shares:
        most = number(100 * max(shares), 2)
        answer = f"Newton–Schulz takes up to {most} % of a training step in these models."
    else:
        answer = "No study profiled the steps."
    return Question("What are the computational trade-offs?", answer, tuple(told))


def _seconds(study: Study) -> Iterator[str]:
    runs = study.tables["runs"]
    if not {"cpu_seconds_per_epoch", "peak_host_bytes"} <= set(runs):
        return
    own = runs.groupby("arm")[["cpu_seconds_per_epoch", "peak_host_bytes"]].median()
    if {MUON, ADAMW} <= set(own.index):
        ratio = own.cpu_seconds_per_epoch[MUON] / own.cpu_seconds_per_epoch[ADAMW]
        memory = own.peak_host_bytes / 1e6
        yield (
            f"{study.title}: an update of {study.label(MUON)} takes {number(ratio)} times the "
            f"processor time of one of {study.label(ADAMW)} (medians over runs); the processes "
            f"took {number(memory[MUON])} and {number(memory[ADAMW])} MB of memory at most."
        )


def preferred(studies: Sequence[Study]) -> Question:
    """The rule: Muon where it ends lower and is not slower in seconds; AdamW where it ends lower;
    otherwise either."""
    told = []
    for study in studies:
        row = study.contrast("final_loss")
        if row is None:
            continue
        winner, seconds = _winner(row), _speed_up(study, "second")
        if winner == MUON_WINS:
            slower = seconds is not None and seconds[2] < 1
            told.append(
                f"{study.title}: prefer Muon for the lower loss, but its steps cost more time than "
                "it saves."
                if slower
                else f"{study.title}: prefer Muon."
                + ("" if seconds is not None and seconds[1] > 1 else
                   " Whether it also saves time is not shown.")
            )  # fmt: skip
        elif winner == ADAMW_WINS:
            told.append(f"{study.title}: prefer AdamW, which ends lower and costs less.")
        elif winner == SAME:
            told.append(f"{study.title}: either will do; AdamW's steps are cheaper.")
        else:
            told.append(f"{study.title}: the records do not decide between them.")
    wins = [line for line in told if "prefer Muon" in line]
    if told and len(wins) == len(told):
        answer = "In every study that was run, Muon is to be preferred for the loss."
    elif wins:
        answer = f"Muon is to be preferred in {len(wins)} of {len(told)} studies that were run."
    elif told:
        answer = "In no study that was run is Muon shown to be preferable."
    else:
        answer = "No study compares the two."
    return Question("When should each optimizer be preferred?", answer, tuple(told))


def _speed_up(study: Study, unit: str) -> tuple[float, float, float] | None:
    """How many times as many steps or seconds AdamW needs, with its interval, if that is known."""
    table = study.tables.get("speed_up")
    if table is None:
        return None
    own = table[(table.arm == MUON) & (table.method == "lengths") & (table.unit == unit)]
    if own.empty or not finite(own.iloc[0].ratio):
        return None
    row = own.iloc[0]
    return row.ratio, row.low, row.high


def _winner(row: pd.Series) -> str:
    """Of a comparison Muon − AdamW in which lower is better."""
    if row.verdict == BETTER:
        return MUON_WINS
    if row.verdict == WORSE:
        return ADAMW_WINS
    return SAME if row.verdict in (EQUIVALENT, NO_DIFFERENCE) else OPEN


def _over(found: Sequence[str], studies: Sequence[Study], wins: str, undecided: str) -> str:
    """The answer over studies: one winner, different ones, or an open question."""
    total = len(found)
    if not total:
        return "No study compares the two."
    counts = {who: list(found).count(who) for who in (MUON_WINS, ADAMW_WINS, SAME, OPEN)}
    if counts[SAME] == total:
        return f"There is no detectable difference in {_studies(total)}."
    parts = [
        f"{wins.format(who)} in {counts[who]} of {_studies(total)}"
        for who in (MUON_WINS, ADAMW_WINS)
        if counts[who]
    ]
    if counts[SAME]:
        parts.append(f"there is no detectable difference in {counts[SAME]}")
    if counts[OPEN]:
        of = f"{counts[OPEN]} of {_studies(total)}" if not parts else f"{counts[OPEN]}"
        parts.append(f"it is undecided {undecided} in {of}")
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _studies(count: int) -> str:
    return f"{count} {'study' if count == 1 else 'studies'}"
