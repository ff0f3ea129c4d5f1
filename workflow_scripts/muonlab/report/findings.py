"""What a study found, in words and numbers computed from its tables: flip them and they flip."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from muonlab.report.sentences import factorial_sentences, sweep_sentences

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
MANY = 3  # pairs that fit beside each other as columns
PERPLEXITIES = {
    "final_loss": "ratio of final perplexities",
    "test_loss": "ratio of test perplexities",
}
# Columns of a language study's arms: outcome of the summary, and what is shown of its mean.
ARM_COLUMNS = {
    "final loss": ("final_loss", float),
    "perplexity": ("final_loss", np.exp),
    "accuracy": ("final_accuracy", float),
    "test loss": ("test_loss", float),
    "test perplexity": ("test_loss", np.exp),
    "test accuracy": ("test_accuracy", float),
    "steps to the matched loss": ("matched_step", float),
}
LEGEND = (
    "Each cell is the first arm minus the second with its 95 % interval over seeds. In bold are "
    "differences that stand after Holm's correction over the pairs; ≈ means shown to be smaller "
    "than the declared smallest difference of interest; ? cannot be told apart; — cannot be "
    "estimated."
)


def findings(
    contrasts: pd.DataFrame,
    summary: pd.DataFrame,
    kind: str = "images",
    factorials: pd.DataFrame | None = None,
    sweeps: pd.DataFrame | None = None,
) -> str:
    """Markdown: what the study rests on, then a table of comparisons for each topic, then what its
    experiments found, in sentences.

    `contrasts`, `summary`, and where there are, `factorials` and `sweeps` (one_at_a_time) as in the
    study's tables; `kind` of its data, images or text. That two arms cannot be told apart, or that
    nothing can be estimated, is a finding too, and stands there with its reason below the table.
    """
    labels = dict(zip(summary.arm, summary.label, strict=True))
    lines = [*_basis(summary), ""]
    if kind == "text":
        lines += ["**Arms**", "", *_arms(summary), ""]
    lines += [LEGEND]
    for topic, outcomes in TOPICS.items():
        rows = contrasts[contrasts.outcome.isin(outcomes)]
        if len(rows):
            many = kind == "text" or len(rows.drop_duplicates(["arm_a", "arm_b"])) > MANY
            table = _long_table if many else _table
            if (rows.verdict == "not estimable").all():
                table = _nothing
            lines += ["", f"**{topic}**", "", *table(rows, outcomes, labels, kind)]
    if factorials is not None:
        lines += ["", "**What each component is worth**", "", *factorial_sentences(factorials)]
    if sweeps is not None:
        lines += ["", "**One setting at a time**", "", *sweep_sentences(sweeps, labels)]
    return "\n".join(lines) + "\n"


def _basis(summary: pd.DataFrame) -> Iterator[str]:
    arms = summary.drop_duplicates("arm")
    first = arms.iloc[0]
    if "tuned" in arms:
        arms = arms[arms.tuned]
    rates = "; ".join(f"{arm.label} {arm.settings}" for arm in arms.itertuples())
    yield (
        f"Data: {first.data}. Protocol: {first.protocol}. Seeds of each arm: {first.n}. "
        f"Chosen by tuning: {rates}."
    )
    for arm in arms[arms.edge.notna() & (arms.edge != "")].itertuples():
        yield f"**Warning:** {arm.label} rests on an edge of its tuning grid ({arm.edge})."


def _arms(summary: pd.DataFrame) -> Iterator[str]:
    """One row for each arm of a language study."""
    yield (
        "Mean over seeds with its 95 % interval, of the split that is followed and of the test "
        "split; perplexity is the exponential of the mean loss."
    )
    yield ""
    yield "| | " + " | ".join(ARM_COLUMNS) + " |"
    yield "|---" * (1 + len(ARM_COLUMNS)) + "|"
    for arm, own in summary.groupby("label", sort=False):
        by_outcome = own.set_index("outcome")
        cells = [_mean(by_outcome.loc[outcome], back) for outcome, back in ARM_COLUMNS.values()]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def _mean(row: pd.Series, back) -> str:
    if not np.isfinite(row["mean"]):
        return "—"
    value, low, high = (float(back(row[name])) for name in ("mean", "low", "high"))
    if not np.isfinite(low):
        return f"{value:.4g}"
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _nothing(
    rows: pd.DataFrame, outcomes: tuple[str, ...], labels: Mapping[str, str], kind: str
) -> Iterator[str]:
    """Instead of a table in which no comparison can be estimated, the reasons."""
    reasons = " ".join(dict.fromkeys(rows.reason))
    yield f"No comparison can be estimated ({len(rows)} of them). {reasons}"


def _long_table(
    rows: pd.DataFrame, outcomes: tuple[str, ...], labels: Mapping[str, str], kind: str
) -> Iterator[str]:
    """`_table` on its side, for many pairs: a row for each pair, a column for each outcome; of text
    with the ratio of perplexities, which is the exponential of the difference of losses."""
    columns: list[tuple[str, str, bool]] = []  # outcome, title, whether it is a perplexity
    for outcome in outcomes:
        own = rows[rows.outcome == outcome]
        if len(own):
            title = own.iloc[0].label + PLACES.get(own.iloc[0].point, "")
            columns.append((outcome, title, False))
            if kind == "text" and outcome in PERPLEXITIES:
                columns.append((outcome, PERPLEXITIES[outcome], True))
    yield "| | " + " | ".join(title for _, title, _ in columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    notes: dict[str, None] = {}
    for (a, b), pair in rows.groupby(["arm_a", "arm_b"], sort=False):
        found = {row.outcome: row for row in pair.itertuples()}
        cells = [_cell(found[outcome], ratio) for outcome, _, ratio in columns]
        yield f"| {labels[a]} − {labels[b]} | " + " | ".join(cells) + " |"
        for row in found.values():
            notes |= dict.fromkeys(_notes(row, labels, PLACES.get(row.point, "")))
    if notes:
        yield ""
        yield " ".join(notes)


def _table(
    rows: pd.DataFrame, outcomes: tuple[str, ...], labels: Mapping[str, str], kind: str
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


def _cell(row, ratio: bool = False) -> str:
    """A comparison in a cell; `ratio` shows the exponentials of the difference and its limits."""
    if row.verdict == "not estimable":
        return "—"
    numbers = f"{row.difference:+.3g} [{row.low:.3g}, {row.high:.3g}]"
    if ratio:
        value, low, high = np.exp([row.difference, row.low, row.high])
        numbers = f"×{value:.3g} [{low:.3g}, {high:.3g}]"
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
