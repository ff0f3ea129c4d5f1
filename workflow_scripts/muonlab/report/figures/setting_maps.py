"""Maps of a ranking: the loss over two settings at a time."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.style import (
    BLACK,
    finish,
    study_notes,
    use_style,
)
from muonlab.report.variants import Settings, alike
from muonlab.statistics.verdicts import DIFFERENT

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
    "arms that differ in these two settings and in nothing else, means over n = {n} seeds. "
    "Colours are differences from the arm that the others are ranked against (ringed where it is "
    "in the map); a dot marks arms that are better or worse than that arm. Combinations that no "
    "arm has are empty. Protocol: {protocol}.",
)
def ranking_heatmap(ranking: pd.DataFrame, study: dict, arm_settings: Settings) -> Figure:
    """Loss over pairs of settings. Each map shows the largest group of arms that differ in these
    two settings alone; combinations that no arm has stay empty."""
    use_style()
    figure, axes = plt.subplots(1, len(MAPS), figsize=(9.6, 3.9))
    base = ranking.loc[ranking.arm == ranking.against.iloc[0], "loss"].iloc[0]
    known = ranking.set_index("arm")
    ranked = {arm: own for arm, own in arm_settings.items() if arm in known.index}
    groups = [largest_group(ranked, pair) for pair in MAPS]
    changes = [known.loc[arm, "loss"] - base for group in groups for arm in group]
    reach = np.nanmax(np.abs(changes), initial=1e-9) if changes else 1.0
    for axis, pair, group in zip(axes, MAPS, groups, strict=True):
        if group:
            _map(axis, known, group, arm_settings, pair, base, reach)
        else:
            nothing(axis, f"No arms span {' and '.join(NAMES[field] for field in pair)}.")
    notes = study_notes(study, None)
    notes.insert(
        1,
        "numbers: mean loss, colour: its difference from the arm ranked against (blue lower, red "
        "higher) · ringed: that arm · dot: better or worse · empty: not run",
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
    base: float,
    reach: float,
) -> None:
    across, down = ([settings[arm][field] for arm in group] for field in pair)
    columns, rows = sorted(set(across)), sorted(set(down))
    grid = np.full((len(rows), len(columns)), np.nan)
    for arm, x, y in zip(group, across, down, strict=True):
        grid[rows.index(y), columns.index(x)] = known.loc[arm, "loss"] - base
    axis.imshow(grid, cmap="RdBu_r", norm=CenteredNorm(0, reach), aspect="auto", origin="lower")
    axis.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    for arm, x, y in zip(group, across, down, strict=True):
        i, j, row = rows.index(y), columns.index(x), known.loc[arm]
        dark = abs(grid[i, j]) > 0.6 * reach
        sure = row.verdict in DIFFERENT
        axis.text(j, i, f"{row.loss:.3f}{' •' if sure else ''}", ha="center", va="center",
                  fontsize=7.5, color="white" if dark else BLACK)  # fmt: skip
        if arm == row.against:
            axis.add_patch(
                Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, ec=BLACK, lw=1.6)
            )
    axis.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axis.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axis.set(xlabel=NAMES[pair[0]], ylabel=NAMES[pair[1]])
    axis.set_title(common(settings, group, pair), fontsize=8.5)
    axis.grid(visible=False)
    axis.grid(visible=True, which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="minor", length=0)


def common(settings: Settings, group: Sequence[str], pair: tuple[str, str]) -> str:
    """What the arms of a map have in common, of the settings that other maps vary."""
    fields = dict.fromkeys([field for other in MAPS for field in other if field not in pair])
    shared = [f"{NAMES[field]} {settings[group[0]][field]:g}" for field in fields]
    return "at " + ", ".join(shared) if shared else ""
