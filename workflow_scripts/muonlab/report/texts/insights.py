"""Key insights of a ranking, in sentences computed from its tables: other numbers give others.

Every difference comes with the simultaneous interval of its family and the verdict that is read off
it, as they stand in the table of contrasts.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import text
from muonlab.report.numbers import interval, number
from muonlab.report.setting_claims import examined, read_sources
from muonlab.report.words import said, verdict_on
from muonlab.statistics.verdicts import BETTER, DIFFERENT, NO_VERDICT, UNDECIDED

FIELDS = {
    "optimizer.ns_steps": "Newton–Schulz steps",
    "optimizer.momentum": "Momentum",
    "optimizer.lr": "Learning rate",
    "optimizer.nesterov": "Nesterov",
    "optimizer.ns_coefficients": "Newton–Schulz coefficients",
    "optimizer.update_spectrum": "Spectrum of the update",
}
# What a field that is not set is called; in the tables it has no value.
UNSET = "none"
DOSES = {
    "direction_error": "error of the update's direction",
    "rms_singular_value": "size of the step",
    "spectrum_power": "power of the update's singular values",
}


@text(
    title="key insights",
    section="findings",
    caption="What the ranking of **{title}** on *{data}* shows, each sentence computed from its "
    "tables, and which of the published claims that its arms can test hold here.",
)
def insights(
    ranking: pd.DataFrame,
    field_effects: pd.DataFrame,
    dose_response: pd.DataFrame,
    study: dict,
    basins: pd.DataFrame | None = None,
    sources: Sequence[dict] | None = None,
) -> str:
    """Markdown: a list of sentences, then a table of the sources' claims and whether they hold.

    `sources` defaults to those of `setting_claims.yaml`.
    """
    answers = [best(ranking), fastest(ranking), spread(ranking)]
    sentences = [*field_sentences(field_effects, ranking), *dose_sentences(dose_response)]
    if basins is not None and len(basins):
        sentences += basin_sentences(basins, ranking)
    lines = [f"* **{topic}:** {sentence}" for topic, sentence in answers]
    lines += ["", _basis(ranking, study), ""]
    lines += [f"* **{topic}:** {sentence}" for topic, sentence in sentences]
    rows = list(claims(field_effects, read_sources() if sources is None else sources))
    if rows:
        lines += ["", "| Claim of the source | Here | Verdict |", "|---|---|---|"]
        lines += [f"| {claim} | {here} | **{verdict}** |" for claim, here, verdict in rows]
    return "\n".join(lines) + "\n"


def best(ranking: pd.DataFrame) -> tuple[str, str]:
    """The arm of the lowest mean loss, compared with the arm that the others are ranked against."""
    sound = _sound(ranking)
    if sound.empty:
        return "Overall best", "no arm has a finite loss on every seed."
    first = sound.iloc[0]
    sentence = f"{first.variant} has the lowest mean loss, {_level(first)}"
    base = ranking[ranking.arm == ranking.against.iloc[0]].iloc[0]
    if first.arm == base.arm:
        return "Overall best", f"{sentence}; it is the arm that the others are compared with."
    sentence += f", {first.improvement_percent:.2g} % below {base.variant}"
    sentence += f" ({_compared_arms(first, ranking)} {_difference(first)}: {said(first)})."
    better = [row.variant for row in sound.itertuples() if verdict_on(row.arm, row) == BETTER]
    if better:
        sentence += f" Better than {base.variant}: {_listed(better)}."
    else:
        sentence += f" No arm is shown to be better than {base.variant}."
    return "Overall best", sentence


def fastest(ranking: pd.DataFrame) -> tuple[str, str]:
    """The arm whose updates take the least time after warm-up, compared with the arm that the
    others are ranked against."""
    timed = ranking[ranking.step_time.notna()].sort_values("step_time", kind="stable")
    if timed.empty:
        return "Fastest", "the runs are too short to time an update after warm-up."
    first = timed.iloc[0]
    base = ranking[ranking.arm == ranking.against.iloc[0]].iloc[0]
    kind = "processor" if ranking.step_time.equals(ranking.step_cpu_seconds) else "wall"
    sentence = f"{first.variant} takes {1e3 * first.step_time:.3g} ms of {kind} time for an update"
    if first.arm == base.arm:
        return "Fastest", f"{sentence}; it is the arm that the others are compared with."
    change = [1e3 * first[f"step_change_{end}"] for end in ("difference", "low", "high")]
    sentence += f", and {base.variant} {1e3 * base.step_time:.3g} ms "
    sentence += f"({_compared_arms(first, ranking)} {_numbers(*change)} ms: "
    sentence += f"{said(first, 'step_change_')})."
    return "Fastest", sentence


def spread(ranking: pd.DataFrame) -> tuple[str, str]:
    """The range of mean losses, and how many arms differ from the one they are ranked against."""
    sound = _sound(ranking)
    if sound.empty:
        return "Range", "it cannot be estimated: every arm has a diverged run."
    first, last = sound.iloc[0], sound.iloc[-1]
    told = sound.verdict.isin(DIFFERENT).sum()
    others = (sound.arm != sound.against).sum()
    sentence = f"mean losses go from {first.loss:.4f} ({first.variant}) to {last.loss:.4f} "
    sentence += f"({last.variant}); {told} of {others} arms "
    sentence += f"{'is' if told == 1 else 'are'} better or worse than "
    sentence += f"{_label(ranking, ranking.against.iloc[0])}."
    lost = ranking[ranking.diverged > 0]
    if len(lost):
        counts = [f"{row.variant} ({row.diverged} of {row.seeds})" for row in lost.itertuples()]
        sentence += f" Diverged runs: {', '.join(counts)}."
    return "Range", sentence


def field_sentences(effects: pd.DataFrame, ranking: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """One sentence for each group of arms that differ in one field alone."""
    effects = effects.fillna({"value": UNSET, "reference_value": UNSET})
    for (field, _), group in effects.groupby(["field", "group"], sort=False):
        first = group.iloc[0]
        topic = FIELDS.get(field, field) + (", steps of one size" if first.matched_step else "")
        sentence = f"(all else as in {_label(ranking, first.reference)}) "
        sound = group[group.loss.notna()]
        if sound.empty or pd.isna(first.reference_loss):
            yield topic, f"{sentence}it cannot be estimated, since runs diverged."
            continue
        low = sound.loc[sound.loss.idxmin()]
        sentence += f"of {_listed([first.reference_value, *group.value])} the lowest mean loss is "
        reference = f"{first.reference_loss:.4f} at {first.reference_value}"
        if first.reference_loss <= low.loss:
            sentence += f"{reference}, and the next {low.loss:.4f} at {low.value}"
        else:
            sentence += f"{low.loss:.4f} at {low.value}, against {reference}"
        difference = f"({_compared_arms(low, ranking)} {_difference(low)}: {said(low)})"
        yield topic, f"{sentence} {difference}. {_told(group)}"


def dose_sentences(responses: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Whether the loss follows the error of the polar factor, the size or the spectrum."""
    for metric, name in DOSES.items():
        for row in responses[responses.metric == metric].itertuples():
            place = "with steps of one size" if row.matched_step else "as run"
            topic = f"Loss over the {name}, {place}"
            said = f"over {row.doses} arms that differ in the {row.varied} alone ({row.common}) "
            said += f"{_trend(row)}: slope {_numbers(row.slope, row.slope_low, row.slope_high)} "
            said += f"nats per unit, Spearman's ρ {_numbers(row.rho, row.rho_low, row.rho_high)}"
            yield topic, f"{said}{_without(row)}."


def _trend(row) -> str:
    """What the loss does as the dose rises, in the words of the relation's verdict."""
    trend = f"the loss {'rises' if row.slope > 0 else 'falls'}"
    return {
        "holds": trend,
        "flat": "the loss hardly changes (by less than the smallest difference of interest)",
        "rests on one arm": f"{trend}, but that rests on one arm (`{row.rests_on}`)",
        "undecided": "the loss shows no clear trend",
    }.get(row.verdict, "how the loss changes cannot be decided")


def _without(row) -> str:
    """The range of the slope with each arm left out, and the arm that moves it most."""
    if not np.isfinite(row.slope_without_low):
        return ""
    limits = (row.slope_without_low, row.slope_without_high)
    ends = " and ".join(number(limit, sign=True) for limit in limits)
    return (
        f"; with one arm left out the slope is between {ends} (moved most by {row.slope_moved_by})"
    )


def basin_sentences(basins: pd.DataFrame, ranking: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """How wide each arm's range of good learning rates is, and which arm's is wider."""
    against = basins.against.fillna("")
    widths = []
    for row in basins[against == ""].itertuples():
        least = "at least " if row.at_least else ""
        limits = f" [{row.low:.2g}, {row.high:.2g}]" if np.isfinite(row.low) else ""
        widths.append(f"{least}{row.octaves:.2g} octaves{limits} for {_label(ranking, row.arm)}")
    tolerance = 100 * basins.tolerance.iloc[0]
    sentence = f"the learning rates whose loss is within {tolerance:g} % of the lowest span "
    sentence += f"{'; '.join(widths)}."
    for row in basins[against != ""].itertuples():
        sentence += f" {_compared(row, _label(ranking, row.arm), _label(ranking, row.against))}"
    yield "Learning-rate basin", sentence


def _compared(row, first: str, second: str) -> str:
    reason = f" ({row.reason.rstrip('.')})" if isinstance(row.reason, str) and row.reason else ""
    if row.verdict in ("wider", "narrower"):
        wider, other = (first, second) if row.verdict == "wider" else (second, first)
        return f"The range of {wider} is wider than that of {other}{reason}."
    if row.verdict in (UNDECIDED, NO_VERDICT):
        return f"Whether the range of {first} or that of {second} is wider: {said(row)}{reason}."
    return f"The ranges of {first} and {second} cannot be compared{reason}."


def claims(effects: pd.DataFrame, sources: Sequence[dict]) -> Iterator[tuple[str, str, str]]:
    """(claim, what was found, verdict) for each claim of the sources that the arms can test."""
    for words, raw, matched, verdict in examined(effects, sources):
        found = f"as run {_difference(raw)}, {said(raw)}"
        if matched is not None:
            found += f"; with steps of one size {_difference(matched)}, {said(matched)}"
        yield words, found, verdict


def _basis(ranking: pd.DataFrame, study: dict) -> str:
    first = ranking.iloc[0]
    sentence = (
        f"Data: {first.data}. Protocol: {first.protocol}. Seeds of each arm: {first.seeds}. Losses "
        f"are those of the {first.evaluated_on} split at the end of training. A difference, seed "
        "by seed, is named by its two arms; where one of them is AdamW, AdamW is subtracted. "
        f"Behind it stand the simultaneous {study['interval']} interval of its family and the "
        "verdict on the first of the two arms, which is read off that interval. Both are those of "
        "the table of contrasts. Intervals of a slope or of ρ hold for all such relations at once, "
        "and the loss is said to rise or fall only if no single arm turns the sign of the relation."
    )
    edges = ranking[ranking.edge.notna() & (ranking.edge != "")]
    if len(edges):
        listed = _listed(f"{row.variant} ({row.edge})" for row in edges.itertuples())
        sentence += "\n\n**Warning:** chosen at the edge of what was tried, so that a better "
        sentence += f"setting may lie outside: {listed}."
    return sentence


def _told(group: pd.DataFrame) -> str:
    """The values of one field by the verdict on them, against the reference."""
    reference = group.reference_value.iloc[0]
    verdicts = [verdict_on(row.arm, row) for row in group.itertuples()]
    if set(verdicts) == {UNDECIDED}:
        span = _listed(group.value) if len(group) < 3 else _span(group.value)
        return f"{span} made no detectable difference against {reference} ({_seeds(group)})."
    by_word: dict[str, list] = {}
    for value, word in zip(group.value, verdicts, strict=True):
        by_word.setdefault(word, []).append(value)
    parts = [f"{word}: {_listed(values)}" for word, values in by_word.items()]
    return f"Compared with {reference}, {'; '.join(parts)}."


def _span(values: pd.Series) -> str:
    """The ends of values that are numbers: "0.88 to 0.96"; other values are listed."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        return _listed(values)
    return f"{numbers.min():g} to {numbers.max():g}"


def _seeds(group: pd.DataFrame) -> str:
    return f"{int(group.n.min())} seeds"


def _compared_arms(row, ranking: pd.DataFrame) -> str:
    return f"{_label(ranking, row.arm_a)} − {_label(ranking, row.arm_b)}"


def _difference(row) -> str:
    return _numbers(row.difference, row.low, row.high)


def _numbers(value: float, low: float, high: float) -> str:
    return interval(value, low, high, sign=True)


def _level(row) -> str:
    limits = f" [{row.loss_low:.4f}, {row.loss_high:.4f}]" if np.isfinite(row.loss_low) else ""
    return f"{row.loss:.4f}{limits}"


def _sound(ranking: pd.DataFrame) -> pd.DataFrame:
    return ranking[(ranking.diverged == 0) & ranking.loss.notna()]


def _listed(values) -> str:
    return ", ".join(map(str, values))


def _label(ranking: pd.DataFrame, arm: str) -> str:
    return ranking.loc[ranking.arm == arm, "variant"].iloc[0]
