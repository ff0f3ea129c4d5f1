"""A forest of differences in their own units: a panel for each outcome, a row for each pair."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.comparisons import on_all_outcomes
from muonlab.report.levels import POINT
from muonlab.report.numbers import number
from muonlab.report.style import (
    BLACK,
    BLUE,
    GREEN,
    MUTED,
    VERMILION,
    finish,
    study_notes,
    use_style,
)
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, HIGHER, LOWER, WORSE

ACROSS = 4  # panels in a row
WIDE = 30  # characters of a line of a panel's title
SEEDS = 3  # fewer draw nothing: an interval of two seeds spans everything
SPECTRAL = {"spectral_entropy", "effective_rank", "condition_number"}
COLOURS = {BETTER: GREEN, WORSE: VERMILION, LOWER: BLUE, HIGHER: BLUE, EQUIVALENT: BLACK}
UNITS = {"final_loss": "nats", "test_loss": "nats", "test_accuracy": "share", "step": "updates"}
UNITS |= {"sharpness": "eigenvalue", "hessian_trace": "trace", "accuracy_drop": "share"}
OUTLIER = 6.0  # times the median reach of a panel: an interval beyond it is cut off


@figure(
    title="effect sizes",
    section="statistics",
    caption="Differences between arms on *{data}* in the units of each outcome, over n = {n} seeds "
    "per arm, with simultaneous {interval} intervals: those of one family of comparisons hold "
    "together. Filled marks are decided: green better, vermilion worse, blue lower or higher where "
    "neither is better; the grey band is ± the smallest difference of interest, within which arms "
    "are equivalent. Spectral outcomes are means over the hidden layers; of several quantization "
    "schemes only the first is shown. The lowest common loss is that which every run of a pair "
    "passed. Standardised effects ({effect}) are in contrasts.csv. Protocol: {protocol}.",
)
def effects(contrasts: pd.DataFrame, outcomes: Sequence[dict], study: dict) -> Figure:
    """Differences a − b with intervals, one panel for each outcome at the end and at the lowest
    common loss, one row for each pair of arms. Pairs that are compared on some outcomes alone are
    left out, and with fewer than three seeds nothing is drawn."""
    use_style()
    table = on_all_outcomes(contrasts)
    arms = table.get("arm_a", []), table.get("arm_b", [])
    pairs = list(dict.fromkeys(zip(*arms, strict=True)))
    panels = _panels(outcomes, table)
    lines = max(1, -(-len(panels) // ACROSS))
    figure, axes = plt.subplots(
        lines,
        min(ACROSS, max(1, len(panels))),
        figsize=(11.0, 1.1 + lines * (0.85 + 0.2 * max(3, len(pairs)))),
        squeeze=False,
        sharey=True,
    )
    for axis, (outcome, title) in zip(axes.flat, panels, strict=False):
        own = table[table.outcome == outcome["name"]].set_index(["arm_a", "arm_b"]).reindex(pairs)
        _panel(axis, own, outcome)
        axis.set_title("\n".join(wrap(title, WIDE)), fontsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    if not pairs:
        nothing(axes[0][0], "The study has one arm: there is nothing to compare.")
    else:
        labels = {arm["name"]: arm["label"] for arm in study["arms"]}
        axes[0][0].set_yticks(range(len(pairs)), [f"{labels[a]} − {labels[b]}" for a, b in pairs])
        axes[0][0].set_ylim(len(pairs) - 0.5, -0.5)
        for axis in axes[:, 0]:
            axis.tick_params(axis="y", labelsize=7)
    notes = study_notes(study, "bars: simultaneous {} interval")
    notes.insert(1, _legend(outcomes))
    finish(figure, f"{study['title']}: differences between arms", notes)
    return figure


def _legend(outcomes: Sequence[dict]) -> str:
    spectra = any(outcome["quantity"] in SPECTRAL for outcome in outcomes)
    return (
        "filled: decided (green better, vermilion worse, blue lower or higher, black equivalent) · "
        "grey band: ± the smallest difference of interest"
        + (" · hidden layers' means for spectra" if spectra else "")
    )


def _panels(outcomes: Sequence[dict], table: pd.DataFrame) -> list[tuple[dict, str]]:
    """Each outcome that is drawn with its title: those of the run as a whole, at its end, and at
    the lowest common loss; of quantization the first scheme alone."""
    scheme = next((o["scheme"] for o in outcomes if "scheme" in o), None)
    levels = [o["point"] for o in outcomes if o["point"].startswith(POINT)]
    places = {"": "", "end": ", at the end"}
    if levels:
        places[max(levels)] = ", at the lowest common loss"
    known = set(table.get("outcome", []))
    return [
        (outcome, outcome["label"] + places[outcome["point"]])
        for outcome in outcomes
        if outcome.get("scheme") in (None, scheme)
        and outcome["point"] in places
        and outcome["name"] in known
    ]


def _panel(axis: Axes, rows: pd.DataFrame, outcome: Mapping) -> None:
    """The marks of one outcome, one above the other."""
    few = rows[["n_a", "n_b"]].min(axis=1) < SEEDS
    value = rows.difference.to_numpy(dtype=float)
    low, high = (rows[end].to_numpy(dtype=float) for end in ("low", "high"))
    known = np.isfinite(value) & np.isfinite(low) & ~few.to_numpy()
    reach = _reach(value[known], low[known], high[known])
    sesoi = rows.sesoi.dropna()
    if len(sesoi):
        axis.axvspan(-sesoi.iloc[0], sesoi.iloc[0], color="#e8ecef", linewidth=0, zorder=0)
    axis.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
    for odd in range(1, len(rows), 2):
        axis.axhspan(odd - 0.5, odd + 0.5, color="#f4f6f8", linewidth=0, zorder=-1)
    for place in np.flatnonzero(known):
        word = rows.verdict.iloc[place]
        colour = COLOURS.get(word, MUTED)
        sure = word in (*DIFFERENT, EQUIVALENT)
        axis.hlines(place, low[place], high[place], color=colour, lw=1.2)
        if abs(value[place]) > reach:
            _beyond(axis, place, value[place], colour)
            continue
        axis.plot(value[place], place, "o", color=colour, mfc=colour if sure else "white", ms=4.4,
                  mew=1.1, clip_on=True)  # fmt: skip
    for place in np.flatnonzero(~known):
        told = f"n < {SEEDS}" if few.iloc[place] else "not estimable"
        axis.text(0.98, place, told, transform=axis.get_yaxis_transform(), ha="right", va="center",
                  fontsize=6, color=MUTED)  # fmt: skip
    axis.set_xlim(-1.06 * reach, 1.06 * reach)
    axis.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    axis.xaxis.set_major_formatter(lambda v, _: f"{v:g}".replace("-", "−"))
    axis.tick_params(labelbottom=True)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(_direction(outcome), fontsize=7.5)


def _beyond(axis: Axes, place: int, value: float, colour: str) -> None:
    """The value of a difference that lies outside of the axis, at that side of it."""
    right = value > 0
    text = f"{number(value)} ▸" if right else f"◂ {number(value)}"
    axis.text(0.99 if right else 0.01, place, text, transform=axis.get_yaxis_transform(),
              ha="right" if right else "left", va="center", fontsize=6.5, color=colour,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


def _direction(outcome: Mapping) -> str:
    """The unit, and which side is better."""
    unit = UNITS.get(outcome["quantity"], "")
    side = {"lower": "← better", "higher": "better →"}.get(outcome.get("better"), "")
    return "   ".join(part for part in (unit, side) if part)


def _reach(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """What the axis covers on either side: all intervals, except for those many times wider than
    most, which are cut off."""
    ends = np.maximum(np.abs(low), np.abs(high))
    ends = ends[np.isfinite(ends)]
    if not len(ends):
        return 1.0
    most = OUTLIER * np.median(ends)
    inside = ends[ends <= most]
    return float(max(inside.max(), np.abs(value[ends <= most]).max(), 1e-12))
