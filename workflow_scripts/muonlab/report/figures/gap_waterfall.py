"""Where a published gap goes: bars from the source's difference down to the fair one."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.style import BLUE, GREEN, MUTED, VERMILION, finish, study_notes, use_style
from muonlab.report.waterfall import number
from muonlab.statistics.verdicts import HIGHER, LOWER

ROW, BAR = 0.46, 0.62  # inches of a row, and the part of it that a bar fills
COLUMNS = 0.66, 1.0  # right ends of the two columns of numbers, in widths of their panel
INK, SLATE = "#2f3640", "#5b6470"  # of lines and texts, and of the published gap


@figure(
    title="where a published gap goes",
    section="findings",
    caption="The gap between Muon and AdamW on *{data}* (Muon − AdamW in nats; below 0 Muon ends "
    "lower), from the published setting to the fair one. The first and the last bar are gaps, "
    "each bar between them is what one correction changes, seed by seed; lines are simultaneous "
    "{interval} intervals over n = {n} paired seeds. Pale bars: the interval of the change "
    "includes 0, or there are fewer than four seeds. Protocol: {protocol}.",
)
def waterfall(waterfall_table: pd.DataFrame, study: dict) -> Figure:
    """Bars from the published gap down to the fair one, one for each correction between them."""
    use_style()
    table = waterfall_table
    rows = len(table) + 1
    size = (9.2, 1.5 + ROW * rows)
    figure, (axis, words) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(1.9, 1))
    words.set_axis_off()
    notes = study_notes(study, "lines: simultaneous {} intervals over paired seeds")
    notes.insert(
        1,
        "green: closes the gap · red: widens it · pale: the interval includes 0, or n < 4",
    )
    if np.isfinite(table.gap).all():
        _bars(axis, words, table)
    else:
        lost = ", ".join(table.label[~np.isfinite(table.gap)])
        nothing(axis, f"Not estimable: a run diverged or lacks the outcome ({lost}).")
    finish(figure, f"{study['title']}: where the published gap goes", notes)
    return figure


def _bars(axis: Axes, words: Axes, table: pd.DataFrame) -> None:
    first, last, steps = table.iloc[0], table.iloc[-1], table.iloc[1:]
    labels = [first.label, *steps.label, "what is left"]
    _gap(axis, words, 0, first, SLATE)
    for place, row in enumerate(steps.itertuples(), start=1):
        _change(axis, words, place, row)
    _gap(axis, words, len(table), last, BLUE)
    for text, x in zip(("nats", "gap left"), COLUMNS, strict=True):
        _say(words, -0.8, text, x, colour=MUTED)
    # Thin lines lead from the end of each bar to where the next one starts.
    for place, gap in enumerate(table.gap):
        axis.vlines(gap, place - BAR / 2, place + 1 + BAR / 2, color=MUTED, lw=0.8, zorder=1)
    axis.vlines(0, -0.5, len(table) + 0.5, color=INK, linewidth=1.2, zorder=4)
    axis.set_yticks(range(len(labels)), labels)
    for place in (0, len(table)):
        axis.get_yticklabels()[place].set_fontweight("bold")
    axis.tick_params(axis="y", length=0, labelsize=9)
    axis.set_ylim(len(labels) - 0.4, -1.1)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("Muon − AdamW (nats); left of 0 Muon ends lower")
    _room(axis, table)


def _gap(axis: Axes, words: Axes, place: int, row: pd.Series, colour: str) -> None:
    """A whole bar from 0 to the gap, with its interval and the number beside it."""
    axis.barh(place, row.gap, height=BAR, color=colour, alpha=0.92, zorder=2)
    _whisker(axis, place, row.gap_low, row.gap_high)
    _say(words, place, number(row.gap, row.gap_low, row.gap_high), COLUMNS[0], "bold", INK)


def _change(axis: Axes, words: Axes, place: int, row) -> None:
    """A bar from the gap before to the gap after a correction. It is green where it closes the gap
    and vermilion where it widens it, and pale where neither is shown. The gap that is left
    after it stands at the right."""
    closes, sure = abs(row.gap) < abs(row.before), row.change_verdict in (HIGHER, LOWER)
    axis.barh(
        place,
        row.change,
        left=row.before,
        height=BAR,
        color=GREEN if closes else VERMILION,
        alpha=0.9 if sure else 0.35,
        zorder=2,
    )
    low, high = row.before + row.change_low, row.before + row.change_high
    _whisker(axis, place, low, high)
    _say(words, place, number(row.change, row.change_low, row.change_high), COLUMNS[0])
    _say(words, place, f"{row.gap:+.3f}".replace("-", "−"), COLUMNS[1], colour=MUTED)


def _whisker(axis: Axes, place: int, low: float, high: float) -> None:
    if np.isfinite(low) and np.isfinite(high):
        axis.hlines(place, low, high, color=INK, linewidth=1.3, zorder=5)
        axis.vlines([low, high], place - 0.1, place + 0.1, color=INK, lw=1.3, zorder=5)


def _say(
    words: Axes, place: float, text: str, x: float, weight: str = "normal", colour: str = INK
) -> None:
    """A text in a column at the right of the bars."""
    words.text(
        x,
        place,
        text,
        transform=words.get_yaxis_transform(),
        ha="right",
        va="center",
        fontsize=8.5,
        fontweight=weight,
        color=colour,
    )


def _room(axis: Axes, table: pd.DataFrame) -> None:
    """Limits around all bars and intervals, with ticks where they are."""
    ends = table[["gap", "gap_low", "gap_high"]].to_numpy(dtype=float).ravel()
    changes = table[["change_low", "change_high"]].add(table.before, axis=0).to_numpy(dtype=float)
    known = np.concatenate([ends, changes.ravel(), [0.0]])
    known = known[np.isfinite(known)]
    span = max(float(np.ptp(known)), 1e-9)
    axis.set_xlim(known.min() - 0.04 * span, known.max() + 0.04 * span)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
