"""What a study found, in words and numbers computed from its tables: flip them and they flip."""

from collections.abc import Iterator, Mapping

import pandas as pd

BITS, POINTS = (8, 4, 2), ("end", "matched")
TOPICS = {
    "Loss and accuracy": ("final_loss", "test_loss", "test_accuracy", "matched_step"),
    "Flatness": tuple(
        f"{quantity}_{point}" for quantity in ("sharpness", "hessian_trace") for point in POINTS
    ),
    "Spectra of the hidden weights": tuple(
        f"{quantity}_{point}"
        for quantity in ("spectral_entropy", "effective_rank")
        for point in POINTS
    ),
    "Quantization, one scale for each tensor": tuple(
        f"accuracy_drop_int{bits}_tensor_quantile_{point}" for bits in BITS for point in POINTS
    ),
}
PLACES = {"end": ", at the end", "matched": ", at matched loss"}
LEGEND = (
    "Each cell is the first arm minus the second with its 95 % interval over seeds. In bold are "
    "differences that stand after Holm's correction over the pairs; ≈ means shown to be smaller "
    "than the declared smallest difference of interest; ? cannot be told apart; — cannot be "
    "estimated."
)


def findings(contrasts: pd.DataFrame, summary: pd.DataFrame) -> str:
    """Markdown: what the study rests on, then a table of comparisons for each topic.

    `contrasts` and `summary` as in the study's tables. That two arms cannot be told apart, or that
    nothing can be estimated, is a finding too, and stands there with its reason below the table.
    """
    labels = dict(zip(summary.arm, summary.label, strict=True))
    lines = [*_basis(summary), "", LEGEND]
    for topic, outcomes in TOPICS.items():
        rows = contrasts[contrasts.outcome.isin(outcomes)]
        if len(rows):
            lines += ["", f"**{topic}**", "", *_table(rows, outcomes, labels)]
    return "\n".join(lines) + "\n"


def _basis(summary: pd.DataFrame) -> Iterator[str]:
    arms = summary.drop_duplicates("arm")
    first = arms.iloc[0]
    rates = "; ".join(f"{arm.label} {arm.settings}" for arm in arms.itertuples())
    yield (
        f"Data: {first.data}. Protocol: {first.protocol}. Seeds of each arm: {first.n}. "
        f"Chosen by tuning: {rates}."
    )
    for arm in arms[arms.edge.notna() & (arms.edge != "")].itertuples():
        yield f"**Warning:** {arm.label} rests on an edge of its tuning grid ({arm.edge})."


def _table(
    rows: pd.DataFrame, outcomes: tuple[str, ...], labels: Mapping[str, str]
) -> Iterator[str]:
    pairs = list(rows[["arm_a", "arm_b"]].drop_duplicates().itertuples(index=False, name=None))
    yield "| | " + " | ".join(f"{labels[a]} − {labels[b]}" for a, b in pairs) + " |"
    yield "|---" * (1 + len(pairs)) + "|"
    notes: dict[str, None] = {}
    for outcome in outcomes:
        own = rows[rows.outcome == outcome]
        cells = [_cell(row) for row in own.itertuples()]
        if cells:
            place = PLACES.get(own.iloc[0].point, "")
            yield f"| {own.iloc[0].label}{place} | " + " | ".join(cells) + " |"
        for row in own.itertuples():
            notes |= dict.fromkeys(_notes(row, labels, place))
    if notes:
        yield ""
        yield " ".join(notes)


def _cell(row) -> str:
    if row.verdict == "not estimable":
        return "—"
    numbers = f"{row.difference:+.3g} [{row.low:.3g}, {row.high:.3g}]"
    if row.verdict == "equivalent":
        return f"≈ {numbers}"
    return f"? {numbers}" if row.verdict == "undecided" else f"**{numbers}**"


def _notes(row, labels: Mapping[str, str], place: str) -> Iterator[str]:
    pair = f"{labels[row.arm_a]} against {labels[row.arm_b]}"
    if row.verdict == "not estimable":
        yield f"— {row.reason}"
    elif row.left_out:
        yield f"{pair}{place}: {row.left_out} seed(s) that never came there are left out."
    if row.compound:
        yield f"{pair} is compound: the arms differ in {row.variables}."
