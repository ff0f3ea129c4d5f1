"""The losses that tuning saw: over the learning rate, and over grids of two settings."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.records import loss_of
from muonlab.report.style import (
    BLACK,
    MUTED,
    ArmStyle,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)
from muonlab.report.sweeps import beside, grid_trials, varied_fields
from muonlab.tuning.selection import loss_column


@figure(
    title="learning-rate sweep",
    section="tuning",
    caption="Loss of every tuning trial on *{data}* over the learning rate: dots are tuning "
    "seeds, lines their means, rings the chosen rates. A ring marked *edge* is at the end of its "
    "grid: a better rate may lie outside. Crosses at the top are trials in which a seed diverged. "
    "Protocol: {protocol}.",
)
def lr_sweep(selection: dict, study: dict, search_grid: object) -> Figure:
    """Each tuned arm's score over the learning rate: seeds as dots, means as lines, the chosen rate
    ringed; other tuned fields are at their chosen values. The value of `search_grid` is not used: a
    study has it only if it is tuned over a grid.

    A chosen rate at the edge of the grid is marked *edge*, with a triangle that points outwards.
    Diverged trials are crosses above a line at the top of the figure.
    """
    use_style()
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    styles = arm_styles(study["arms"])
    score, tuning_seeds = selection["score"], len(selection["seeds"])
    column = loss_column(selection["score"])
    arms = [arm for arm in study["arms"] if arm["tuned"] and "lr" in arm["settings"]]
    table = pd.DataFrame(
        [
            {
                "arm": trial["arm"],
                "lr": trial["settings"]["lr"],
                "value": loss_of(trial, column),
            }
            for arm in arms
            for trial in selection["trials"]
            if trial["arm"] == arm["name"] and beside(trial["settings"], arm["settings"], {"lr"})
        ]
    )
    for arm in arms:
        rows = table[table.arm == arm["name"]]
        _sweep_line(axis, rows, styles[arm["name"]])
        _mark_choice(axis, rows, arm, styles[arm["name"]])
    axis.set_xscale("log")
    axis.set_yscale("log")
    log_axis(axis.xaxis)
    log_axis(axis.yaxis)
    axis.set_xlabel("learning rate")
    axis.set_ylabel(f"{score} {study['training']['evaluate_on']} loss (nats)")
    _diverged(axis, table, styles)
    axis.legend(loc="best")
    notes = [
        f"data: {study['data']} · dots: {tuning_seeds} tuning seed(s), lines: their mean · "
        f"ring: chosen · protocol: {study['protocol']}",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: learning-rate sweep", notes)
    return figure


def _sweep_line(axis: Axes, rows: pd.DataFrame, style: ArmStyle) -> None:
    means = rows.groupby("lr").value.apply(lambda v: v.mean() if v.notna().all() else math.nan)
    axis.plot(means.index, means.to_numpy(), markersize=0, **style)
    axis.plot(rows.lr, rows.value, style["marker"], color=style.colour, alpha=0.45, markersize=3.5)


def _mark_choice(axis: Axes, rows: pd.DataFrame, arm: dict, style: ArmStyle) -> None:
    lr = arm["settings"]["lr"]
    y = rows[rows.lr == lr].value.mean()
    axis.plot(
        [lr], [y], "o", markersize=11, fillstyle="none", color=style.colour, markeredgewidth=1.6
    )
    side = arm["edges"].get("lr")
    if side:
        axis.annotate(
            "▸ edge" if side == "high" else "edge ◂",
            (lr, y),
            xytext=(9 if side == "high" else -9, 0),
            textcoords="offset points",
            ha="left" if side == "high" else "right",
            va="center",
            fontsize=8,
            color=style.colour,
        )


def _diverged(axis: Axes, table: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    lost = table[table.value.isna()]
    if lost.empty:
        return
    for arm, style in styles.items():
        for lr in sorted(set(lost[lost.arm == arm].lr)):
            axis.plot([lr], [0.97], "x", transform=axis.get_xaxis_transform(), color=style.colour)
    axis.text(
        0.01, 0.97, "diverged ×", transform=axis.transAxes, fontsize=7.5, color=MUTED, va="center"
    )


@figure(
    title="tuning grids",
    section="tuning",
    caption="Mean loss of every cell of the tuning grids of two settings on *{data}*, over the "
    "tuning seeds; the framed cell was chosen, hatched cells had a seed that diverged. All panels "
    "share one scale of colours. Protocol: {protocol}.",
)
def tuning_heatmap(selection: dict, study: dict, tuned_pairs: object) -> Figure:
    """The grid of each tuned arm that varies exactly two numbers: mean loss over tuning seeds.

    All arms share one scale of colours; the chosen cell is framed, and a cell in which a seed
    diverged is hatched. The value of `tuned_pairs` is not used: a study has it only if there is
    such an arm.
    """
    use_style()
    grids = {arm["name"]: _grid(selection, arm) for arm in study["arms"] if arm["tuned"]}
    grids = {name: grid for name, grid in grids.items() if grid is not None}
    height = 1.5 + 0.42 * max((len(grid) for grid in grids.values()), default=2)
    figure, axes = plt.subplots(
        1, len(grids), figsize=(1.0 + 3.7 * len(grids), height), squeeze=False
    )
    losses = np.concatenate([grid.to_numpy(dtype=float).ravel() for grid in grids.values()])
    losses = losses[np.isfinite(losses)]
    norm = LogNorm(losses.min(), losses.max() * (1 + 1e-9)) if len(losses) else None
    arms = {arm["name"]: arm for arm in study["arms"]}
    for axis, (name, grid) in zip(axes.flat, grids.items(), strict=True):
        _map(axis, grid, arms[name], norm)
    loss = f"{selection['score']} {study['training']['evaluate_on']} loss"
    notes = [
        f"data: {study['data']} · cells: mean {loss} (nats) over "
        f"{len(selection['seeds'])} tuning seed(s) · frame: chosen · protocol: {study['protocol']}",
        "one scale of colours for all panels, bright is low · hatched: a seed diverged",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: tuning grids", notes)
    return figure


@figure(
    title="loss over two settings of one arm",
    section="sensitivity",
    caption="Mean loss of **{title}** on *{data}* over two settings of one arm, everything else at "
    "its chosen value, over the first reporting seeds; the framed cell is what tuning chose, "
    "hatched cells had a seed that diverged. Protocol: {protocol}.",
)
def sensitivity_map(
    grid_runs: Sequence[dict], grid_summaries: Sequence[dict], study: dict
) -> Figure:
    """The grid of the study's `sensitivity` over its first two fields: mean final losses."""
    use_style()
    trials = grid_trials(grid_runs, grid_summaries)
    arm = next(arm for arm in study["arms"] if arm["name"] == trials[0]["arm"])
    arm = arm | {"settings": arm["settings"] | trials[0]["chosen"]}
    grid = _grid({"trials": trials, "score": "final"}, arm)
    seeds = len({trial["seed"] for trial in trials})
    figure, axis = plt.subplots(figsize=(6.4, 1.7 + 0.42 * (1 if grid is None else len(grid))))
    if grid is None:
        nothing(axis, "The grid has one setting, or more than two.")
    else:
        losses = grid.to_numpy(dtype=float)
        losses = losses[np.isfinite(losses)]
        norm = LogNorm(losses.min(), losses.max() * (1 + 1e-9)) if len(losses) else None
        _map(axis, grid, arm, norm)
    notes = [
        f"data: {study['data']} · cells: mean final {study['training']['evaluate_on']} loss (nats) "
        f"over {seeds} seed(s) · frame: chosen · protocol: {study['protocol']}",
        "bright is low · hatched: a seed diverged",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: loss over two settings", notes)
    return figure


def _grid(selection: dict, arm: dict) -> pd.DataFrame | None:
    """Mean losses with the second field down and the first across; NaN where a seed diverged."""
    trials = [trial for trial in selection["trials"] if trial["arm"] == arm["name"]]
    fields = varied_fields(trials)
    if len(fields) != 2:
        return None
    column = loss_column(selection["score"])
    rows = [
        {field: trial["settings"][field] for field in fields} | {"loss": loss_of(trial, column)}
        for trial in trials
        if beside(trial["settings"], arm["settings"], set(fields))
    ]
    means = pd.DataFrame(rows).groupby(fields).loss.mean(skipna=False)
    return means.unstack(fields[0])


def _map(axis: Axes, grid: pd.DataFrame, arm: dict, norm: LogNorm | None) -> None:
    values = grid.to_numpy(dtype=float)
    colours = plt.get_cmap("cividis_r")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            lost = not np.isfinite(value)
            face = "#f1f3f5" if lost else colours(norm(value))
            look = {"hatch": "////", "edgecolor": MUTED} if lost else {"edgecolor": "white"}
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, **look))
            if not lost:
                ink = "white" if np.dot(face[:3], (0.3, 0.59, 0.11)) < 0.5 else BLACK
                axis.text(x, y, f"{value:#.3g}", ha="center", va="center", fontsize=8, color=ink)
    across, down = grid.columns.name, grid.index.name
    x = list(grid.columns).index(arm["settings"][across])
    y = list(grid.index).index(arm["settings"][down])
    axis.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, lw=2.4, ec="#D55E00"))
    axis.set_xlim(-0.5, len(grid.columns) - 0.5)
    axis.set_ylim(-0.5, len(grid) - 0.5)
    axis.set_xticks(range(len(grid.columns)), [f"{v:g}" for v in grid.columns])
    axis.set_yticks(range(len(grid)), [f"{v:g}" for v in grid.index])
    axis.set(xlabel=across, ylabel=down, title=arm["label"])
    axis.grid(visible=False)
