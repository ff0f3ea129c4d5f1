"""One setting at a time, and the tuning grids of two settings as maps."""

import math
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from muonlab.report.style import BLACK, MUTED, ArmStyle, arm_styles, finish, study_notes, use_style

TUNING, REPORTING = "tuning", "reporting"


def score_column(selection: dict) -> str:
    """The loss by which tuning chose, as the runs' summaries call it."""
    return "final_loss" if selection["score"] == "final" else "best_loss"


def sweep_points(
    selection: dict,
    sweeps: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
) -> pd.DataFrame:
    """arm, field, value, seeds, seed, loss, reference: one row for each run of each sweep.

    Of every tuned arm each number of its grid is varied at the chosen values of the others, over
    tuning seeds; the chosen value is the reference. `sweeps` (arm, field, arms: [value, arm] pairs,
    reference) are arms that differ from a tuned one in one number, over reporting seeds. The loss
    of a diverged run is NaN.
    """
    rows = [*_tuned_points(selection, study), *_arm_points(selection, sweeps, runs, summaries)]
    columns = ["arm", "field", "value", "seeds", "seed", "loss", "reference"]
    return pd.DataFrame(rows, columns=columns)


def _tuned_points(selection: dict, study: dict) -> Iterator[dict]:
    column = score_column(selection)
    for arm in [arm for arm in study["arms"] if arm["tuned"]]:
        trials = [trial for trial in selection["trials"] if trial["arm"] == arm["name"]]
        for field in varied_fields(trials):
            for trial in trials:
                if _beside(trial["settings"], arm["settings"], {field}):
                    value = trial["settings"][field]
                    yield {
                        "arm": arm["name"],
                        "field": field,
                        "value": value,
                        "seeds": TUNING,
                        "seed": trial["seed"],
                        "loss": _loss(trial, column),
                        "reference": value == arm["settings"][field],
                    }


def _arm_points(
    selection: dict, sweeps: Sequence[dict], runs: Sequence[dict], summaries: Sequence[dict]
) -> Iterator[dict]:
    column = score_column(selection)
    for sweep in sweeps:
        values = {arm: value for value, arm in sweep["arms"]}
        for run, summary in zip(runs, summaries, strict=True):
            if run["arm"] in values:
                value = values[run["arm"]]
                yield {
                    "arm": sweep["arm"],
                    "field": sweep["field"],
                    "value": value,
                    "seeds": REPORTING,
                    "seed": run["seed"],
                    "loss": _loss(summary, column),
                    "reference": value == sweep["reference"],
                }


def varied_fields(trials: Sequence[dict]) -> list[str]:
    """The fields of which an arm's trials have two or more numbers."""
    fields = dict.fromkeys(field for trial in trials for field in trial["settings"])
    values = {field: {trial["settings"][field] for trial in trials} for field in fields}
    return [f for f, own in values.items() if len(own) > 1 and all(map(_is_number, own))]


def one_at_a_time_figure(points: pd.DataFrame, selection: dict, study: dict) -> Figure:
    """A panel for each setting: losses over its values, evenly spaced, with runs as dots.

    All panels share the axis of losses, so that a setting that matters looks like one. Rings mark
    the chosen value, or the base's; crosses at the top are values at which a run diverged.
    """
    use_style()
    panels = list(dict.fromkeys(zip(points.field, points.seeds, strict=True)))
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (max(8.2, 1.2 + 2.2 * columns), 0.9 + 2.7 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True)
    styles = arm_styles(study["arms"])
    for axis, (field, seeds) in zip(axes.flat, panels, strict=False):
        own = points[(points.field == field) & (points.seeds == seeds)]
        _sweep(axis, own, styles)
        count = own.groupby(["arm", "value"]).seed.nunique().max()
        axis.set_title(field)
        axis.set_xlabel(f"n = {count} {seeds} seed{'s' if count > 1 else ''}")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel(f"{selection['score']} {study['training']['evaluate_on']} loss (nats)")
    _legend(axes[0][0], points, styles)
    notes = [
        f"data: {study['data']} · dots: single runs, lines: their means · ring: chosen, or the "
        f"base's value · protocol: {study['protocol']}",
        "every other setting at its chosen value · tuning seeds made the choice, which flatters it",
        *study_notes(study)[1:],
    ]
    finish(figure, f"{study['title']}: one setting at a time", notes)
    return figure


def _sweep(axis: Axes, points: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    values = sorted(set(points.value))
    place = {value: i for i, value in enumerate(values)}
    for arm, own in points.groupby("arm", sort=False):
        style = styles[arm]
        x = own.value.map(place)
        means = own.groupby("value").loss.apply(lambda v: v.mean(skipna=False))
        axis.plot(means.index.map(place), means.to_numpy(), markersize=0, **style)
        axis.plot(x, own.loss, style["marker"], color=style.colour, alpha=0.5, markersize=3.5)
        chosen = own.value[own.reference].iloc[0]
        axis.plot(
            place[chosen],
            means[chosen],
            "o",
            markersize=11,
            fillstyle="none",
            color=style.colour,
            markeredgewidth=1.6,
        )
        for value in sorted(set(own.value[own.loss.isna()])):
            axis.plot(
                place[value], 0.97, "x", color=style.colour, transform=axis.get_xaxis_transform()
            )
    axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axis.set_xlim(-0.5, len(values) - 0.5)


def _legend(axis: Axes, points: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    """All arms of the figure in its first panel."""
    for line in axis.lines:
        line.set_label("_")
    for arm in dict.fromkeys(points.arm):
        axis.plot([], [], **styles[arm])
    axis.legend(loc="best", fontsize=7.5)


def tuning_heatmap(selection: dict, study: dict) -> Figure:
    """The grid of each tuned arm that varies exactly two numbers: mean loss over tuning seeds.

    One scale of colours for all arms; the chosen cell is framed, and a cell of which a seed
    diverged is hatched.
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


def _grid(selection: dict, arm: dict) -> pd.DataFrame | None:
    """Mean losses with the second field down and the first across; NaN where a seed diverged."""
    trials = [trial for trial in selection["trials"] if trial["arm"] == arm["name"]]
    fields = varied_fields(trials)
    if len(fields) != 2:
        return None
    column = score_column(selection)
    rows = [
        {field: trial["settings"][field] for field in fields} | {"loss": _loss(trial, column)}
        for trial in trials
        if _beside(trial["settings"], arm["settings"], set(fields))
    ]
    means = pd.DataFrame(rows).groupby(fields).loss.agg(lambda v: v.mean(skipna=False))
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


def _loss(record: dict, column: str) -> float:
    value = None if record["diverged"] else record[column]
    return math.nan if value is None else float(value)


def _beside(settings: dict, chosen: dict, free: set[str]) -> bool:
    """Whether a trial differs from the choice in the free fields alone."""
    return all(value == chosen[field] for field, value in settings.items() if field not in free)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
