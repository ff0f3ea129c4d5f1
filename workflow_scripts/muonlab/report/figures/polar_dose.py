"""Loss over the error of the polar factor, as run and with matched steps."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.style import (
    BLUE,
    MARKERS,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILION,
    finish,
    study_notes,
    use_style,
)

# (metric, whether the arms have matched steps, title, label of the axis)
PANELS = (
    ("direction_error", False, "as run", "error of the direction"),
    ("direction_error", True, "steps of one size", "error of the direction"),
    ("rms_singular_value", False, "as run, over its size", "rms singular value of the update"),
)
COLOURS = (VERMILION, BLUE, PURPLE, ORANGE)


@figure(
    title="dose and response",
    section="ranking",
    caption="Loss of arms that differ in the Newton–Schulz iteration alone, over how far their "
    "updates are from the polar factor, on *{data}*: as run, with updates of one size, and over "
    "the size itself. Bars are {interval} t intervals over n = {n} seeds per arm, of the loss and "
    "of the dose. If the losses differ because of orthogonality, the second panel should show the "
    "trend of the first; if they differ because of the size of the step, the third panel should "
    "show a trend and the second none. Protocol: "
    "{protocol}.",
)
def dose_response(dose_points: pd.DataFrame, dose_response: pd.DataFrame, study: dict) -> Figure:
    """Mean loss with its interval over each arm's dose, a colour for each family of arms that
    differ in the Newton–Schulz iteration alone, and each family's trend from `dose_response`."""
    use_style()
    points, responses = dose_points, dose_response
    figure, axes = plt.subplots(1, 3, figsize=(11.4, 4.6), sharey=True)
    families = list(dict.fromkeys(points.common))
    for axis, (metric, matched, title, label) in zip(axes, PANELS, strict=True):
        own = points[(points.metric == metric) & (points.matched_step == matched)]
        if own.empty:
            nothing(axis, "Fewer than three arms differ in the iteration alone.")
            continue
        lines = []
        for place, name in enumerate(families):
            rows = own[own.common == name].sort_values("dose")
            if len(rows):
                _points(axis, rows, place)
                said = responses[
                    (responses.metric == metric)
                    & (responses.matched_step == matched)
                    & (responses.common == name)
                ].iloc[0]
                lines.append((COLOURS[place % len(COLOURS)], trend(said)))
        for line, (colour, text) in enumerate(lines):
            axis.text(0.02, 0.985 - 0.105 * line, text, transform=axis.transAxes, va="top",
                      fontsize=7, color=colour)  # fmt: skip
        axis.set_title(title)
        axis.set_xlabel(label)
        axis.margins(x=0.12)
    axes[0].set_ylabel(f"{study['training']['evaluate_on']} loss (nats)")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + 0.35 * (high - low))
    notes = study_notes(study, "bars: {} t interval")
    notes.insert(
        1,
        "error of the direction: least distance of the update, at any scale, from its polar "
        "factor, over the factor's norm; mean over matrices, last kept update",
    )
    notes.insert(
        2,
        f"slope and Spearman's ρ: means over seeds with {study['interval']} t intervals · only "
        "separate points are named, all are in dose_points.csv",
    )
    for axis, (metric, matched, *_) in zip(axes, PANELS, strict=True):
        own = points[(points.metric == metric) & (points.matched_step == matched)]
        _names(axis, own)
    finish(figure, f"{study['title']}: does the loss depend on the polar factor's error?", notes)
    return figure


def trend(row) -> str:
    """Slope and rank correlation of one family, as two short lines."""
    slope = _interval(row.slope, row.slope_low, row.slope_high)
    return f"{row.common}: slope {slope},\nρ {_interval(row.rho, row.rho_low, row.rho_high)}"


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
    """Writes the names of arms beside their points, where a point is separate from all others."""
    rows = rows[rows["mean"].notna()]
    if rows.empty:
        return
    place = axis.transData + axis.transAxes.inverted()
    points = place.transform(rows[["dose", "mean"]].to_numpy())
    for (x, y), row in zip(points, rows.itertuples(), strict=True):
        near = (np.abs(points - (x, y)) < (0.06, 0.035)).all(axis=1).sum() > 1
        left = x > 0.7
        if not near:
            axis.annotate(
                row.variant.split(",")[0].split(" (")[0], (row.dose, row.mean),
                xytext=(-4 if left else 4, 3), textcoords="offset points", fontsize=6.5,
                color=MUTED, va="bottom", ha="right" if left else "left",
            )  # fmt: skip
