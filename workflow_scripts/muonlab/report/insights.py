"""Key insights of a ranking, in sentences computed from its tables: flip the numbers and they flip.

Every difference stands with its interval over seeds and a verdict after Holm's correction; what
cannot be told apart is said to be so.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

FIELDS = {
    "optimizer.ns_steps": "Newton–Schulz steps",
    "optimizer.momentum": "Momentum",
    "optimizer.lr": "Learning rate",
    "optimizer.nesterov": "Nesterov",
    "optimizer.ns_coefficients": "Newton–Schulz coefficients",
}
SAID = {
    "lower": "lower",
    "higher": "higher",
    "equivalent": "the same but for less than the smallest difference of interest",
    "undecided": "cannot be told apart",
    "not estimable": "cannot be tested",
}
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def insights(
    ranking: pd.DataFrame,
    effects: pd.DataFrame,
    responses: pd.DataFrame,
    basins: pd.DataFrame | None = None,
) -> str:
    """Markdown: a list of sentences, then a table of the source's claims and what is left of them.

    `ranking`, `effects`, `responses` and `basins` are ranking.csv, field_effects.csv,
    dose_response.csv and, where robustness was run, basins.csv.
    """
    lines = [_basis(ranking), ""]
    sentences = [
        best(ranking), fastest(ranking), spread(ranking),
        *field_sentences(effects, ranking), *dose_sentences(responses),
    ]  # fmt: skip
    if basins is not None and len(basins):
        sentences += basin_sentences(basins, ranking)
    lines += [f"* **{topic}:** {sentence}" for topic, sentence in sentences]
    rows = list(claims(effects))
    if rows:
        lines += ["", "| Claim of the source | Here | Verdict |", "|---|---|---|"]
        lines += [f"| {claim} | {here} | **{verdict}** |" for claim, here, verdict in rows]
    return "\n".join(lines) + "\n"


def best(ranking: pd.DataFrame) -> tuple[str, str]:
    """The arm of the lowest mean loss, against the arm ranked against."""
    sound = _sound(ranking)
    if sound.empty:
        return "Overall best", "no arm has a finite loss on every seed."
    first = sound.iloc[0]
    sentence = f"{first.variant} has the lowest mean loss, {_level(first)}"
    base = ranking[ranking.arm == ranking.against.iloc[0]].iloc[0]
    if first.arm == base.arm:
        return "Overall best", f"{sentence}; it is the arm that the others are ranked against."
    sentence += f", {first.improvement_percent:.2g} % below {base.variant}"
    sentence += f" (difference {_difference(first)}: {_said(first.verdict)})."
    told = sound[sound.verdict == "lower"]
    sentence += f" Arms that are lower than it for sure: {_listed(told.variant) or 'none'}."
    return "Overall best", sentence


def fastest(ranking: pd.DataFrame) -> tuple[str, str]:
    """The arm of the shortest update, against the arm ranked against, by time after warm-up."""
    timed = ranking[ranking.step_time.notna()].sort_values("step_time", kind="stable")
    if timed.empty:
        return "Fastest", "the runs are too short to time an update after warm-up."
    first = timed.iloc[0]
    base = ranking[ranking.arm == ranking.against.iloc[0]].iloc[0]
    kind = "processor" if ranking.step_time.equals(ranking.step_cpu_seconds) else "wall"
    sentence = f"{first.variant}: {1e3 * first.step_time:.3g} ms of {kind} time for an update"
    if first.arm == base.arm:
        return "Fastest", f"{sentence}; it is the arm that the others are ranked against."
    change = [1e3 * first[f"step_change_{end}"] for end in ("difference", "low", "high")]
    sentence += f", against {1e3 * base.step_time:.3g} ms of {base.variant} (difference "
    sentence += f"{_numbers(*change)} ms: {_said(first.step_change_verdict)})."
    return "Fastest", sentence


def spread(ranking: pd.DataFrame) -> tuple[str, str]:
    """The range of mean losses, and how many arms can be told from the one ranked against."""
    sound = _sound(ranking)
    if sound.empty:
        return "Range", "not estimable: every arm has a diverged run."
    first, last = sound.iloc[0], sound.iloc[-1]
    told = sound.verdict.isin(["lower", "higher"]).sum()
    others = (sound.arm != sound.against).sum()
    sentence = f"mean losses go from {first.loss:.4f} ({first.variant}) to {last.loss:.4f} "
    sentence += f"({last.variant}); {told} of {others} arms can be told apart from "
    sentence += f"{_label(ranking, ranking.against.iloc[0])}."
    lost = ranking[ranking.diverged > 0]
    if len(lost):
        counts = [f"{row.variant} ({row.diverged} of {row.seeds})" for row in lost.itertuples()]
        sentence += f" Diverged runs: {', '.join(counts)}."
    return "Range", sentence


def field_sentences(effects: pd.DataFrame, ranking: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """One sentence for each group of arms that differ in one field alone."""
    for (field, _), group in effects.groupby(["field", "group"], sort=False):
        first = group.iloc[0]
        topic = FIELDS.get(field, field) + (", steps of one size" if first.matched_step else "")
        sentence = f"(else as {_label(ranking, first.reference)}) "
        sound = group[group.loss.notna()]
        if sound.empty or pd.isna(first.reference_loss):
            yield topic, f"{sentence}not estimable: runs diverged."
            continue
        low = sound.loc[sound.loss.idxmin()]
        values = _listed([first.reference_value, *group.value])
        reference = f"{first.reference_loss:.4f} at {first.reference_value}"
        if first.reference_loss <= low.loss:
            sentence += f"of {values} the lowest mean loss is {reference}, next is {low.loss:.4f} "
            sentence += f"at {low.value}"
        else:
            sentence += f"of {values} the lowest mean loss is {low.loss:.4f} at {low.value}, "
            sentence += f"against {reference}"
        difference = f"(difference {_difference(low)}: {_said(low.verdict)})"
        yield topic, f"{sentence} {difference}. {_told(group)}"


def dose_sentences(responses: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Whether the loss follows the error of the polar factor, or the size of the step."""
    names = {"direction_error": "error of the update's direction"}
    names["rms_singular_value"] = "size of the step"
    for metric, name in names.items():
        for row in responses[responses.metric == metric].itertuples():
            place = "with steps of one size" if row.matched_step else "as run"
            topic = f"Loss over the {name}, {place}"
            slope = _numbers(row.slope, row.slope_low, row.slope_high)
            said = "not estimable"
            if np.isfinite(row.slope_low):
                clear = row.slope_low > 0 or row.slope_high < 0
                said = ("rises" if row.slope > 0 else "falls") if clear else "no trend can be told"
            rho = _numbers(row.rho, row.rho_low, row.rho_high)
            yield (
                topic,
                (
                    f"over {row.doses} arms ({row.common}) {said}: slope {slope} nats per unit, "
                    f"Spearman's ρ {rho}."
                ),
            )


def basin_sentences(basins: pd.DataFrame, ranking: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """How wide each arm's range of good learning rates is, and whose is wider."""
    against = basins.against.fillna("")
    widths = []
    for row in basins[against == ""].itertuples():
        least = "at least " if row.at_least else ""
        limits = f" [{row.low:.2g}, {row.high:.2g}]" if np.isfinite(row.low) else ""
        widths.append(f"{_label(ranking, row.arm)} {least}{row.octaves:.2g} octaves{limits}")
    tolerance = 100 * basins.tolerance.iloc[0]
    sentence = f"rates within {tolerance:g} % of the lowest loss span: {'; '.join(widths)}."
    for row in basins[against != ""].itertuples():
        pair = f"{_label(ranking, row.arm)} and {_label(ranking, row.against)}"
        words = {"wider": "the first is wider", "narrower": "the second is wider"}
        sentence += f" Of {pair}, {words.get(row.verdict, _said(row.verdict))}"
        sentence += f" ({row.reason.rstrip('.')})." if isinstance(row.reason, str) else "."
    yield "Learning-rate basin", sentence


def claims(effects: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """(claim, what was found, verdict) for those of the source's claims that the arms can test."""
    for text, field, reference, values, judge in CLAIMS:
        for value in values:
            own = effects[(effects.field == field) & (effects.reference_value == reference)]
            own = own[own.value == value]
            raw, matched = own[~own.matched_step], own[own.matched_step]
            if len(raw):
                found = _found("as run", raw.iloc[0])
                if len(matched):
                    found += "; " + _found("with steps of one size", matched.iloc[0])
                verdict = judge(raw.iloc[0], matched.iloc[0] if len(matched) else None)
                yield text.format(value=value.replace("_", " ")), found, verdict


def _is_lower(raw, matched) -> str:
    return {"lower": HOLDS, "undecided": OPEN, "not estimable": OPEN}.get(raw.verdict, FAILS)


def _is_higher(raw, matched) -> str:
    return {"higher": HOLDS, "undecided": OPEN, "not estimable": OPEN}.get(raw.verdict, FAILS)


def _is_higher_at_any_size(raw, matched) -> str:
    """Worse as run, and still worse once steps have one size: then orthogonality is why."""
    if _is_higher(raw, matched) != HOLDS:
        return _is_higher(raw, matched)
    return OPEN if matched is None else _is_higher(matched, None)


Judge = Callable[[pd.Series, pd.Series | None], str]
# (claim, field, value of the reference, values, judge)
CLAIMS: tuple[tuple[str, str, str, tuple[str, ...], Judge], ...] = (
    ("10 Newton–Schulz steps beat 5", "optimizer.ns_steps", "5", ("10",), _is_lower),
    (
        "“{value}” coefficients are worse because of orthogonality, not of the size of the step",
        "optimizer.ns_coefficients",
        "jordan",
        ("conservative", "ultra_stable"),
        _is_higher_at_any_size,
    ),
    ("No Nesterov is worse", "optimizer.nesterov", "true", ("false",), _is_higher),
)


def _basis(ranking: pd.DataFrame) -> str:
    first = ranking.iloc[0]
    sentence = (
        f"Data: {first.data}. Protocol: {first.protocol}. Seeds of each arm: {first.seeds}. Losses "
        f"are those of the {first.evaluated_on} split at the end, differences are arm minus "
        f"{_label(ranking, first.against)} or the arm named, by seed, with 95 % intervals. What is "
        "said of them is after Holm's correction over the arms that are compared together: an "
        "interval may leave out 0 where two arms cannot be told apart."
    )
    edges = ranking[ranking.edge.notna() & (ranking.edge != "")]
    if len(edges):
        listed = _listed(f"{row.variant} ({row.edge})" for row in edges.itertuples())
        sentence += f"\n\n**Warning:** chosen on an edge of the tuning grid: {listed}."
    return sentence


def _told(group: pd.DataFrame) -> str:
    """Which values can be told apart from the reference's, and which cannot."""
    said = []
    words = {"lower": "lower", "higher": "higher", "equivalent": "equivalent"}
    words |= {"undecided": "cannot be told apart", "not estimable": "cannot be tested"}
    for verdict, word in words.items():
        values = group.value[group.verdict == verdict]
        if len(values):
            said.append(f"{word}: {_listed(values)}")
    reference = group.reference_value.iloc[0]
    return f"Against {reference}, {'; '.join(said)}."


def _found(place: str, row) -> str:
    return f"{place} {_difference(row)}, {_said(row.verdict)}"


def _difference(row) -> str:
    return _numbers(row.difference, row.low, row.high)


def _numbers(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "—"
    limits = f" [{low:.3g}, {high:.3g}]" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{value:+.3g}{limits}".replace("-", "−")


def _level(row) -> str:
    limits = f" [{row.loss_low:.4f}, {row.loss_high:.4f}]" if np.isfinite(row.loss_low) else ""
    return f"{row.loss:.4f}{limits}"


def _said(verdict: object) -> str:
    return SAID.get(verdict, SAID["not estimable"])


def _sound(ranking: pd.DataFrame) -> pd.DataFrame:
    return ranking[(ranking.diverged == 0) & ranking.loss.notna()]


def _listed(values) -> str:
    return ", ".join(map(str, values))


def _label(ranking: pd.DataFrame, arm: str) -> str:
    return ranking.loc[ranking.arm == arm, "variant"].iloc[0]
