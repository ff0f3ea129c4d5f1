"""A forest of effect sizes: every pair of arms on the main outcomes, at the end and matched."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.present.bands import arm_legend, nothing
from muonlab.present.style import MARKERS, MUTED, OTHERS, finish, study_notes, use_style

COLUMNS = {"end": "run as a whole, and at its end", "matched": "at matched loss"}


def effects_figure(
    table: pd.DataFrame, outcomes: Sequence[dict], study: dict, alpha: float
) -> Figure:
    """Standardised differences with intervals, one row for each outcome and one mark for each pair.

    `table` is contrasts.csv. Paired studies show Cohen's d_z, unpaired ones Hedges' g; filled marks
    have a corrected p under α. Of quantization only the first scheme is shown.
    """
    use_style()
    paired = bool(study["training"]["paired"])
    effect = "d_z" if paired else "hedges_g"
    rows = _rows(outcomes)
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 1.5 + 0.36 * len(rows)), sharey=True)
    pairs = list(dict.fromkeys(zip(table.get("arm_a", []), table.get("arm_b", []), strict=True)))
    for axis, (point, title) in zip(axes, COLUMNS.items(), strict=True):
        if not pairs:
            nothing(axis, "One arm alone: nothing to compare.")
            continue
        names = [row[point] for row in rows.values()]
        _forest(axis, table, names, pairs, effect, study, alpha)
        axis.set_title(title + (_counts(table, pairs) if point == "matched" else ""))
        axis.set_xlabel("Cohen's d_z" if paired else "Hedges' g")
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_ylim(len(rows) - 0.5, -0.5)
    if pairs:
        arm_legend(figure, axes[0])
    notes = study_notes(study, "bars: exact 95 % interval")
    notes.insert(1, "filled: corrected p < α · hidden layers' means for spectra · × not estimable")
    finish(figure, f"{study['title']}: effect sizes", notes)
    return figure


def _rows(outcomes: Sequence[dict]) -> dict[str, dict[str, str | None]]:
    """Label → names of the outcome at the end and at matched loss, of the first scheme alone."""
    scheme = _first_scheme(outcomes)
    rows: dict[str, dict[str, str | None]] = {}
    for outcome in outcomes:
        if outcome.get("scheme") in (None, scheme):
            row = rows.setdefault(outcome["label"], {"end": None, "matched": None})
            row[outcome["point"] or "end"] = outcome["name"]
    return rows


def _counts(table: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> str:
    """Runs behind each pair at matched loss: seeds if paired, of the smaller arm otherwise."""
    own = table[table.point == "matched"]
    own = own.assign(least=own[["n_a", "n_b"]].min(axis=1)).groupby(["arm_a", "arm_b"]).least.max()
    return f" (n = {', '.join(str(int(own.get(pair, 0))) for pair in pairs)})"


def _first_scheme(outcomes: Sequence[dict]) -> str | None:
    return next((o["scheme"] for o in outcomes if "scheme" in o), None)


def _forest(
    axis: Axes,
    table: pd.DataFrame,
    names: Sequence[str | None],
    pairs: Sequence[tuple[str, str]],
    effect: str,
    study: dict,
    alpha: float,
) -> None:
    """One line and mark for each name and pair; rows whose name is None stay empty."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for i, (a, b) in enumerate(pairs):
        own = table[(table.arm_a == a) & (table.arm_b == b)].set_index("outcome")
        own = own.reindex([name for name in names if name])
        y = np.flatnonzero([bool(name) for name in names]) + 0.26 * (i - (len(pairs) - 1) / 2)
        look = {"color": OTHERS[i % len(OTHERS)], "marker": MARKERS[i % len(MARKERS)]}
        value = own[effect].to_numpy(dtype=float)
        sure, lost = (own.p_holm < alpha).to_numpy(), ~np.isfinite(value)
        axis.hlines(y, own[f"{effect}_low"], own[f"{effect}_high"], color=look["color"], lw=1.2)
        for chosen, face in ((sure, look["color"]), (~sure, "white")):
            axis.plot(
                value[chosen], y[chosen], linestyle="", markersize=4.6, mfc=face, mew=1.1, **look
            )
        axis.plot(np.zeros(lost.sum()), y[lost], "x", color=look["color"], markersize=3.6)
        axis.plot([], [], linestyle="", label=f"{labels[a]} − {labels[b]}", **look)
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for odd in range(1, len(names), 2):
        axis.axhspan(odd - 0.5, odd + 0.5, color="#f4f6f8", linewidth=0, zorder=0)
    shown = table[table.outcome.isin([name for name in names if name])]
    reach = shown[[f"{effect}_low", f"{effect}_high"]].to_numpy(dtype=float)
    _effect_axis(axis, np.nanmax(np.abs(reach), initial=5.0, where=np.isfinite(reach)))


def _effect_axis(axis: Axes, reach: float) -> None:
    """Linear within ±1, logarithmic beyond: few seeds leave intervals that span tens."""
    axis.set_xscale("symlog", linthresh=1, linscale=0.6)
    ticks = [1, 3, 10] if reach < 30 else [1, 10, 100]
    axis.set_xticks([-t for t in reversed(ticks)] + [0] + ticks)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axis.xaxis.minorticks_off()
    axis.set_xlim(-1.15 * reach, 1.15 * reach)
    axis.grid(axis="y", visible=False)
