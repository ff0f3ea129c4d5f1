"""Maps of a ranking: the loss over two settings at a time."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.numbers import number
from muonlab.report.style import (
    BLACK,
    GREEN,
    MUTED,
    VERMILION,
    finish,
    study_notes,
    use_style,
)
from muonlab.report.variants import Settings, alike
from muonlab.report.words import verdict_on
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, WORSE

MAPS = (
    ("optimizer.ns_steps", "optimizer.momentum"),
    ("optimizer.lr", "optimizer.momentum"),
)
NAMES = {
    "optimizer.ns_steps": "Newton–Schulz steps",
    "optimizer.momentum": "momentum",
    "optimizer.lr": "learning rate",
}


@figure(
    title="loss over two settings",
    section="ranking",
    caption="Loss of **{title}** over two settings at a time on *{data}*: the largest group of "
    "arms that differ in these two settings and in nothing else. Numbers are paired differences "
    "from the arm that the others are ranked against (ringed where it is in the map), with their "
    "simultaneous {interval} intervals over n = {n} seeds; cells are coloured where a difference "
    "is shown (green better, vermilion worse), and the stronger the more it exceeds the smallest "
    "difference of interest. White cells cannot be told apart from that arm. Combinations that no "
    "arm has are left out. Protocol: {protocol}.",
)
def ranking_heatmap(
    ranking: pd.DataFrame, study: dict, arm_settings: Settings, comparison: Mapping | None = None
) -> Figure:
    """Loss over pairs of settings. Each map shows the largest group of arms that differ in these
    two settings alone; combinations that no arm has stay empty."""
    use_style()
    known = ranking.set_index("arm")
    ranked = {arm: own for arm, own in arm_settings.items() if arm in known.index}
    groups = [largest_group(ranked, pair) for pair in MAPS]
    shown = [(pair, group) for pair, group in zip(MAPS, groups, strict=True) if group]
    across = max(1, len(shown))
    figure, axes = plt.subplots(1, across, figsize=(1.2 + 4.6 * across, 3.9), squeeze=False)
    smallest = (comparison or {}).get("smallest_difference", {}).get("final_loss")
    for axis, (pair, group) in zip(axes[0], shown, strict=False):
        _map(axis, known, group, arm_settings, pair, smallest)
    if not shown:
        nothing(axes[0][0], "No arms differ in two of these settings at once.")
    notes = study_notes(study, None)
    notes.insert(
        1,
        "loss − that of the ringed arm (nats), simultaneous interval below it · green better, "
        "vermilion worse, grey equivalent · white: cannot be told apart",
    )
    finish(figure, f"{study['title']}: loss over two settings at a time", notes)
    return figure


def largest_group(settings: Settings, pair: tuple[str, str]) -> list[str]:
    """The largest group of arms that differ in both fields of `pair` and in nothing else."""
    groups = [
        group
        for group in alike(settings, pair)
        if all(len({settings[arm][field] for arm in group}) > 1 for field in pair)
    ]
    return max(groups, key=len, default=[])


def _map(
    axis: Axes,
    known: pd.DataFrame,
    group: Sequence[str],
    settings: Settings,
    pair: tuple[str, str],
    smallest: float | None,
) -> None:
    across, down = ([settings[arm][field] for arm in group] for field in pair)
    columns, rows = sorted(set(across)), sorted(set(down))
    axis.set_xlim(-0.5, len(columns) - 0.5)
    axis.set_ylim(-0.5, len(rows) - 0.5)
    for arm, x, y in zip(group, across, down, strict=True):
        _cell(axis, columns.index(x), rows.index(y), arm, known.loc[arm], smallest)
    axis.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axis.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axis.set(xlabel=NAMES[pair[0]], ylabel=NAMES[pair[1]])
    axis.set_title(common(settings, group, pair), fontsize=8.5)
    axis.grid(visible=False)


def _cell(axis: Axes, x: int, y: int, arm: str, row: pd.Series, smallest: float | None) -> None:
    """One arm: its difference from the arm that is ranked against, its interval, and the colour of
    its verdict."""
    own = arm == row.against
    face = "white" if own else _colour(row, arm, smallest)
    axis.add_patch(
        Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=face, edgecolor="#c9d0d6", lw=0.7)
    )
    if own:
        axis.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, ec=BLACK, lw=1.6))
        axis.text(x, y, f"{row.loss:.3f}\nnats", ha="center", va="center", fontsize=7, color=BLACK)
        return
    sign = 1 if arm == row.arm_a else -1
    low, high = sorted((sign * row.low, sign * row.high))
    if not np.isfinite(row.difference):
        axis.text(x, y, "not\nestimable", ha="center", va="center", fontsize=6, color=MUTED)
        return
    bold = "bold" if row.verdict in DIFFERENT else "normal"
    axis.text(x, y + 0.12, number(sign * row.difference, 2, sign=True), ha="center", va="center",
              fontsize=7.5, color=BLACK, fontweight=bold)  # fmt: skip
    if np.isfinite(low):
        told = f"[{number(low, 2)}, {number(high, 2)}]"
        axis.text(x, y - 0.2, told, ha="center", va="center", fontsize=4.9, color=MUTED)


def _colour(row: pd.Series, arm: str, smallest: float | None) -> str | tuple:
    """White where the arm cannot be told apart, grey where it is equivalent, else green or
    vermilion, full at eight times the smallest difference of interest."""
    word = verdict_on(arm, row)
    if word == EQUIVALENT:
        return "#e8ecef"
    if word not in (BETTER, WORSE):
        return "white"
    unit = smallest or abs(row.difference) or 1.0
    strength = min(1.0, 0.3 + 0.7 * np.log2(max(1.0, abs(row.difference) / unit)) / 3)
    return (*to_rgb(GREEN if word == BETTER else VERMILION), 0.65 * strength)


def common(settings: Settings, group: Sequence[str], pair: tuple[str, str]) -> str:
    """What the arms of a map have in common, of the settings that other maps vary."""
    fields = dict.fromkeys([field for other in MAPS for field in other if field not in pair])
    shared = [f"{NAMES[field]} {settings[group[0]][field]:g}" for field in fields]
    return "at " + ", ".join(shared) if shared else ""
