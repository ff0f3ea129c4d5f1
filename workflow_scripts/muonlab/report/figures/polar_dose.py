"""Loss over the error of the polar factor, over the size of the step and over the spectrum."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.style import (
    BLACK,
    MARKERS,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    finish,
    study_notes,
    use_style,
)
from muonlab.report.variants import ITERATIONS, POWER, SPECTRA

# (metric, what the arms vary, whether they have matched steps, title, label of the axis)
PANELS = (
    ("direction_error", ITERATIONS, False, "iteration, as run", "error of the direction"),
    ("direction_error", ITERATIONS, True, "iteration, steps of one size", "error of the direction"),
    ("rms_singular_value", ITERATIONS, False, "iteration, as run, over the size of the step",
     "rms singular value of the update"),
    (POWER, SPECTRA, True, "spectrum of the update, steps of one size",
     "power of the momentum's singular values (0: polar factor)"),
)  # fmt: skip
# Families of arms have colours that stand for no optimizer elsewhere.
COLOURS = (BLACK, PURPLE, ORANGE, SKY)


@figure(
    title="dose and response",
    section="ranking",
    caption="Loss on *{data}* of arms that differ in the Newton–Schulz iteration alone, over how "
    "far their updates are from the polar factor (as run, and with updates of one size) and over "
    "the size itself; last, of arms whose updates of one size differ in their singular values "
    "alone, which are those of the momentum to a power. Bars are {interval} t intervals over n = "
    "{n} seeds per arm, of the loss and of the dose. If the losses differ because of "
    "orthogonality, the second panel should show the trend of the first; if they differ because "
    "of the size of the step, the third panel should show a trend and the second none; if the "
    "shape of the spectrum matters, the last panel should show it. In brackets is the interval of "
    "each slope that holds for all relations of the table *dose and response* at once, and then "
    "the range of the slope when one arm after the other is left out. A relation holds only if "
    "the interval excludes 0 and no single arm turns the sign. Protocol: {protocol}.",
)
def dose_response(dose_points: pd.DataFrame, dose_response: pd.DataFrame, study: dict) -> Figure:
    """Mean loss with its interval over each arm's dose, a colour for each family of arms that
    differ in the Newton–Schulz iteration alone, and each family's trend from `dose_response`."""
    use_style()
    points, responses = dose_points, dose_response
    figure, grid = plt.subplots(2, 2, figsize=(9.6, 8.4))
    axes = grid.ravel()
    for axis in axes[1:-1]:  # spectra differ by more than iterations do
        axis.sharey(axes[0])
    names = list(dict.fromkeys(points.common))
    for axis, (metric, varied, matched, title, label) in zip(axes, PANELS, strict=True):
        axis.set_title(title)
        axis.set_xlabel(label)
        own, said = (of(table, metric, varied, matched) for table in (points, responses))
        if own.empty:
            nothing(axis, f"Fewer than three arms differ in the {varied} alone.")
            continue
        lines = []
        for place, name in enumerate(names):
            rows = own[own.common == name].sort_values("dose")
            if len(rows):
                _points(axis, rows, place)
                text = trend(said[said.common == name].iloc[0])
                lines.append((COLOURS[place % len(COLOURS)], text))
        for line, (colour, text) in enumerate(lines):
            axis.text(0.02, 0.985 - 0.14 * line, text, transform=axis.transAxes, va="top",
                      fontsize=7, color=colour)  # fmt: skip
        axis.margins(x=0.12)
    for axis in axes:
        axis.set_ylabel(f"{study['training']['evaluate_on']} loss (nats)")
    for axis in (axes[0], axes[-1]):
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.35 * (high - low))
    for axis, (metric, varied, matched, *_) in zip(axes, PANELS, strict=True):
        _names(axis, of(points, metric, varied, matched))
    finish(figure, f"{study['title']}: what of the update does the loss depend on?", _notes(study))
    return figure


def of(table: pd.DataFrame, metric: str, varied: str, matched: bool) -> pd.DataFrame:
    """The rows of one panel."""
    found = (table.metric == metric) & (table.varied == varied)
    return table[found & (table.matched_step == matched)]


def _notes(study: dict) -> list[str]:
    notes = study_notes(study, "bars: {} t interval")
    notes.insert(
        1,
        "error of the direction: least distance of the update, at any scale, from its polar "
        "factor, over the factor's norm; mean over matrices, last kept update",
    )
    notes.insert(
        2,
        "slope and Spearman's ρ: means over seeds, their intervals hold for all relations at once "
        f"({study['interval']}) · points that lie together share a name",
    )
    return notes


def trend(row) -> str:
    """Slope, rank correlation, what leaving arms out does to the slope, and the verdict."""
    slope = _interval(row.slope, row.slope_low, row.slope_high)
    rho = _interval(row.rho, row.rho_low, row.rho_high)
    without = _range(row.slope_without_low, row.slope_without_high)
    return f"{row.common}: slope {slope}, ρ {rho},\nwithout one arm {without}: {row.verdict}"


def _range(low: float, high: float) -> str:
    if not np.isfinite(low):
        return "not estimable"
    return f"{low:.2g} to {high:.2g}".replace("-", "−")


def _interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "not estimable"
    limits = f" [{low:.2g}, {high:.2g}]" if np.isfinite(low) else ""
    return f"{value:.2g}{limits}".replace("-", "−")


def _points(axis: Axes, rows: pd.DataFrame, place: int) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    axis.plot(rows.dose, rows["mean"], color=colour, linewidth=0.7, alpha=0.5)
    axis.vlines(rows.dose, rows.low, rows.high, color=colour, linewidth=1.2)
    axis.hlines(rows["mean"], rows.dose_low, rows.dose_high, color=colour, linewidth=1.2)
    axis.plot(rows.dose, rows["mean"], linestyle="", marker=marker, color=colour, markersize=4.5)


def _names(axis: Axes, rows: pd.DataFrame) -> None:
    """Writes the names of arms beside their points, above or below, where there is room; points
    that lie together share one list."""
    rows = rows[rows["mean"].notna() & rows.dose.notna()]
    if rows.empty:
        return
    place = axis.transData + axis.transAxes.inverted()
    points = place.transform(rows[["dose", "mean"]].to_numpy())
    left = list(range(len(rows)))
    names = [_short(row.variant) for row in rows.itertuples()]
    taken: list[tuple[float, float]] = []
    while left:
        first = left[0]
        near = [i for i in left if (np.abs(points[i] - points[first]) < (0.07, 0.05)).all()]
        left = [i for i in left if i not in near]
        x, y = points[near].mean(axis=0)
        told = dict.fromkeys(names[i] for i in near)
        text = ", ".join(told) if len(told) <= 2 else f"{next(iter(told))} and {len(told) - 1} more"
        side = next((s for s in (0.055, -0.055, 0.1, -0.1) if _is_free(x, y + s, taken)), None)
        if side is None:
            continue
        taken.append((x, y + side))
        right = x > 0.6
        axis.annotate(
            text, (x, y), xytext=(x + (0.012 if not right else -0.012), y + side),
            xycoords="axes fraction", textcoords="axes fraction", fontsize=6.2, color=MUTED,
            va="center", ha="right" if right else "left",
            arrowprops={"arrowstyle": "-", "color": "#c3c9d0", "linewidth": 0.5},
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
        )  # fmt: skip


def _short(variant: str) -> str:
    """What tells a variant from the others of its family, without what they share."""
    parts = [part for part in variant.split(", ") if part not in ("matched step", "10 steps")]
    return (parts or [variant])[0].split(" (")[0]


def _is_free(x: float, y: float, taken: list[tuple[float, float]]) -> bool:
    """Whether a name at this place, in parts of the axes, would lie over no other one."""
    inside = 0.02 < y < 0.98
    return inside and all(abs(y - other) > 0.04 or abs(x - near) > 0.32 for near, other in taken)
