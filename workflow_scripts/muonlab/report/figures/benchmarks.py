"""Accuracy on benchmarks of multiple choice, beside the accuracy of guessing."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.choices import SCORES
from muonlab.report.crowd import line_styles
from muonlab.report.style import MUTED, ArmStyle, finish, study_notes, use_style


@figure(
    title="benchmarks of multiple choice",
    section="evaluation",
    caption="Accuracy of the finished models of **{title}** by the protocol of the "
    "lm-evaluation-harness, of the most likely ending and of the most likely one per byte. Thick "
    "bars: {interval} t intervals over n = {n} seeds; thin bars: {interval} bootstrap intervals "
    "over items; dotted lines: guessing. Protocol: {protocol}.",
)
def benchmarks(benchmark_accuracy: pd.DataFrame, study: dict) -> Figure:
    """One panel for each benchmark and score, one row for each arm."""
    use_style()
    tasks = list(dict.fromkeys(benchmark_accuracy.task))
    panels = [(task, score) for task in tasks for score in SCORES]
    size = (1.6 + 2.9 * len(panels), 1.5 + 0.28 * len(study["arms"]))
    drawn, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
    styles = line_styles(study["arms"])
    for axis, (task, score) in zip(axes.flat, panels, strict=True):
        own = benchmark_accuracy[
            (benchmark_accuracy.task == task) & (benchmark_accuracy.score == score)
        ]
        _panel(axis, own.set_index("arm"), styles)
        axis.set_title(f"{task}\n{SCORES[score]}", fontsize=9)
        axis.set_xlabel("accuracy")
    labels = [arm["label"] for arm in study["arms"]]
    axes.flat[0].set_yticks(range(len(labels)), labels)
    axes.flat[0].set_ylim(len(labels) - 0.4, -0.6)
    items = benchmark_accuracy.drop_duplicates("task")
    told = ", ".join(f"{row.task}: {row.items}" for row in items.itertuples())
    cut = [f"{row.task} {100 * row.cut:.0f} %" for row in items.itertuples() if row.cut > 0]
    notes = study_notes(study, "thick bars: {} t interval over seeds, thin ones over items")
    notes.insert(1, f"items: {told} · dotted: guessing")
    if cut:
        notes.insert(2, f"longer than the model's context, so cut at the start: {', '.join(cut)}")
    finish(drawn, f"{study['title']}: benchmarks of multiple choice", notes)
    return drawn


def _panel(axis: Axes, rows: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    axis.axvline(rows.chance.iloc[0], color=MUTED, linewidth=1.0, linestyle=":")
    for place, (arm, style) in enumerate(styles.items()):
        row = rows.loc[arm]
        axis.hlines(place, row.item_low, row.item_high, color=style.colour, linewidth=0.9)
        axis.hlines(place, row.low, row.high, color=style.colour, linewidth=2.4, alpha=0.6)
        axis.plot(row["mean"], place, "o", color=style.colour, markersize=5)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.1)
