"""A forest of effect sizes: every pair of arms, at the end and at the lowest common loss."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, nothing
from muonlab.report.comparisons import on_all_outcomes
from muonlab.report.levels import POINT
from muonlab.report.style import BLUE, MARKERS, MUTED, OTHERS, finish, study_notes, use_style
from muonlab.statistics.verdicts import DIFFERENT

COLUMNS = {"end": "run as a whole, and at its end", "level": "at the lowest common loss"}
NAMES = {"d_z": "Cohen's d_z", "hedges_g": "Hedges' g"}
SPECTRAL = {"spectral_entropy", "effective_rank", "condition_number"}
ACROSS = 4  # panels in a row
MANY = 4  # up to this many pairs can be distinguished by marks and colours within one row


@figure(
    title="effect sizes",
    section="statistics",
    caption="Standardised differences between arms on *{data}* ({effect}), over n = {n} seeds "
    "per arm, with simultaneous {interval} intervals on an axis that is linear within ±1: those of "
    "one family of comparisons hold together. Filled marks: the verdict is better or worse, lower "
    "or higher. Crosses at zero are not estimable; contrasts.csv says why. Spectral outcomes are "
    "means over the hidden layers; of several quantization schemes only the first is shown. The "
    "lowest common loss is that which every run of a pair passed. Pairs that are compared on some "
    "outcomes alone are left out. Protocol: {protocol}.",
)
def effects(contrasts: pd.DataFrame, outcomes: Sequence[dict], study: dict) -> Figure:
    """Standardised differences with intervals, one row for each outcome and one mark for each pair;
    with many pairs, one panel for each outcome and one row for each pair.

    Paired studies show Cohen's d_z, unpaired ones Hedges' g; filled marks are decided differences.
    Only the first quantization scheme is shown.
    """
    use_style()
    contrasts = on_all_outcomes(contrasts)
    paired = bool(study["training"]["paired"])
    effect = "d_z" if paired else "hedges_g"
    rows = _rows(outcomes)
    arms = contrasts.get("arm_a", []), contrasts.get("arm_b", [])
    pairs = list(dict.fromkeys(zip(*arms, strict=True)))
    draw = _by_outcome if len(pairs) > MANY else _by_pair
    figure = draw(contrasts, rows, pairs, effect, study)
    notes = study_notes(study, "bars: simultaneous {} interval")
    spectra = any(outcome["quantity"] in SPECTRAL for outcome in outcomes)
    notes.insert(
        1,
        "filled: better or worse, lower or higher · "
        + ("hidden layers' means for spectra · " if spectra else "")
        + "× not estimable",
    )
    finish(figure, f"{study['title']}: effect sizes", notes)
    return figure


def _by_pair(
    table: pd.DataFrame,
    rows: dict,
    pairs: Sequence[tuple[str, str]],
    effect: str,
    study: dict,
) -> Figure:
    """Two panels, at the end and at the lowest common loss: a row for each outcome, with all pairs
    in it."""
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 1.5 + 0.36 * len(rows)), sharey=True)
    for axis, (point, title) in zip(axes, COLUMNS.items(), strict=True):
        if not pairs:
            nothing(axis, "The study has one arm: there is nothing to compare.")
            continue
        names = [row[point] for row in rows.values()]
        _forest(axis, table, names, pairs, effect, study)
        axis.set_title(title)
        axis.set_xlabel(NAMES[effect])
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_ylim(len(rows) - 0.5, -0.5)
    if pairs:
        arm_legend(figure, axes[0])
    return figure


def _by_outcome(
    table: pd.DataFrame,
    rows: dict,
    pairs: Sequence[tuple[str, str]],
    effect: str,
    study: dict,
) -> Figure:
    """A panel for each outcome, a row for each pair, in the order of the config."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    panels = [
        (name, label + ("\nat the lowest common loss" if point == "level" else ""))
        for label, names in rows.items()
        for point, name in names.items()
        if name
    ]
    lines = -(-len(panels) // ACROSS)
    figure, axes = plt.subplots(
        lines,
        ACROSS,
        figsize=(11.0, 1.0 + lines * (0.75 + 0.19 * len(pairs))),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    look = {"color": BLUE, "marker": "o"}
    reach = _reach(table, [name for name, _ in panels], effect)
    for axis, (name, title) in zip(axes.flat, panels, strict=False):
        own = table[table.outcome == name].set_index(["arm_a", "arm_b"]).reindex(pairs)
        _marks(axis, own, np.arange(len(pairs)), effect, look)
        _ground(axis, len(pairs), reach)
        axis.set_title(title, fontsize=8.5)
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(NAMES[effect], fontsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    axes[0][0].set_yticks(range(len(pairs)), [f"{labels[a]} − {labels[b]}" for a, b in pairs])
    axes[0][0].set_ylim(len(pairs) - 0.5, -0.5)
    for axis in axes[:, 0]:
        axis.tick_params(axis="y", labelsize=7)
    return figure


def _rows(outcomes: Sequence[dict]) -> dict[str, dict[str, str | None]]:
    """Label → the outcome's names at the end and at the lowest common loss, for the first scheme
    only."""
    scheme = _first_scheme(outcomes)
    levels = [outcome["point"] for outcome in outcomes if outcome["point"].startswith(POINT)]
    places = {"": "end", "end": "end"} | ({max(levels): "level"} if levels else {})
    rows: dict[str, dict[str, str | None]] = {}
    for outcome in outcomes:
        if outcome.get("scheme") in (None, scheme):
            row = rows.setdefault(outcome["label"], {"end": None, "level": None})
            place = places.get(outcome["point"])
            if place:
                row[place] = outcome["name"]
    return rows


def _first_scheme(outcomes: Sequence[dict]) -> str | None:
    return next((o["scheme"] for o in outcomes if "scheme" in o), None)


def _forest(
    axis: Axes,
    table: pd.DataFrame,
    names: Sequence[str | None],
    pairs: Sequence[tuple[str, str]],
    effect: str,
    study: dict,
) -> None:
    """One line and mark for each name and pair; rows whose name is None stay empty."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for i, (a, b) in enumerate(pairs):
        own = table[(table.arm_a == a) & (table.arm_b == b)].set_index("outcome")
        own = own.reindex([name for name in names if name])
        y = np.flatnonzero([bool(name) for name in names]) + 0.26 * (i - (len(pairs) - 1) / 2)
        look = {"color": OTHERS[i % len(OTHERS)], "marker": MARKERS[i % len(MARKERS)]}
        _marks(axis, own, y, effect, look)
        axis.plot([], [], linestyle="", label=f"{labels[a]} − {labels[b]}", **look)
    _ground(axis, len(names), _reach(table, [name for name in names if name], effect))


def _marks(axis: Axes, rows: pd.DataFrame, y: np.ndarray, effect: str, look: dict) -> None:
    """One mark with its interval for each row, at the heights `y`."""
    value = rows[effect].to_numpy(dtype=float)
    sure, lost = rows.verdict.isin(DIFFERENT).to_numpy(), ~np.isfinite(value)
    axis.hlines(y, rows[f"{effect}_low"], rows[f"{effect}_high"], color=look["color"], lw=1.2)
    for chosen, face in ((sure, look["color"]), (~sure, "white")):
        axis.plot(value[chosen], y[chosen], linestyle="", markersize=4.6, mfc=face, mew=1.1, **look)
    axis.plot(np.zeros(lost.sum()), y[lost], "x", color=look["color"], markersize=3.6)


def _ground(axis: Axes, rows: int, reach: float) -> None:
    """Draws the line at zero, the stripes behind the rows, and the axis of effects."""
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for odd in range(1, rows, 2):
        axis.axhspan(odd - 0.5, odd + 0.5, color="#f4f6f8", linewidth=0, zorder=0)
    _effect_axis(axis, reach)


def _reach(table: pd.DataFrame, names: Sequence[str], effect: str) -> float:
    """The largest limit of the intervals that are shown, but at least 5."""
    shown = table[table.outcome.isin(names)]
    limits = shown[[f"{effect}_low", f"{effect}_high"]].to_numpy(dtype=float)
    return np.nanmax(np.abs(limits), initial=5.0, where=np.isfinite(limits))


def _effect_axis(axis: Axes, reach: float) -> None:
    """Linear within ±1, logarithmic beyond: with few seeds, intervals can span tens."""
    axis.set_xscale("symlog", linthresh=1, linscale=0.6)
    ticks = [1, 3, 10] if reach < 30 else [1, 10, 100]
    axis.set_xticks([-t for t in reversed(ticks)] + [0] + ticks)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axis.xaxis.minorticks_off()
    axis.set_xlim(-1.15 * reach, 1.15 * reach)
    axis.grid(axis="y", visible=False)
