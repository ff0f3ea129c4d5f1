"""Lines of many arms in one panel: the tuned ones in colour, names at ends instead of a legend."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from muonlab.report.style import MUTED, ArmStyle, arm_styles

MANY = 6  # arms that colours, dashes and a legend still tell apart
PALE = "#a7afb8"
LINE = 8.5  # points from one name to the next


def is_crowd(arms: Sequence[dict]) -> bool:
    return len(arms) > MANY


def line_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """`arm_styles`; of a crowd only the tuned arms are in colour, above thin grey lines, which keep
    their dashes."""
    styles = arm_styles(arms)
    if not is_crowd(arms):
        return styles
    tuned = [arm for arm in arms if arm.get("tuned", True)]
    styles |= arm_styles(tuned)
    for arm in arms:
        if arm.get("tuned", True):
            styles[arm["name"]]["zorder"] = 3
        else:
            styles[arm["name"]] |= {"color": PALE, "linewidth": 0.9, "zorder": 2}
    return styles


def legend_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """`line_styles` for figures with a legend: the grey lines of a crowd share one entry."""
    styles, name = line_styles(arms), "other arms"
    for style in styles.values():
        if style.colour == PALE:
            style["label"], name = name, "_other"
    return styles


def height(arms: Sequence[dict], least: float) -> float:
    """Inches that a panel needs for the names at its right, and at least so many."""
    return max(least, 0.6 + len(arms) * LINE / 72) if is_crowd(arms) else least


def end_labels(axis: Axes, styles: Mapping[str, ArmStyle]) -> None:
    """Names of the lines at their ends, in the order of the ends; call it when all is drawn.

    Names that would touch are moved apart, and a thin line leads from each to its end.
    """
    lines = {line.get_label(): line for line in axis.lines}
    found = [(style, end) for style in styles.values() if (end := _end(lines[style["label"]]))]
    if not found:
        return
    axis.set_ylim(axis.get_ylim())
    to_axes = axis.transData + axis.transAxes.inverted()
    # A line may end outside of what the axis shows.
    ends = np.clip([to_axes.transform(end) for _, end in found], 0, 1)
    points = axis.get_window_extent().height * 72 / axis.figure.dpi
    order = np.argsort(ends[:, 1], kind="stable")
    places = dict(zip(order, apart(ends[order, 1], 1.12 * LINE / points), strict=True))
    for i, (style, _) in enumerate(found):
        axis.annotate(
            style["label"],
            ends[i],
            xytext=(1.05 if len(found) <= 12 else 1.13, places[i]),
            xycoords="axes fraction",
            va="center",
            fontsize=7,
            color=MUTED if style.colour == PALE else style.colour,
            arrowprops={
                "arrowstyle": "-",
                "color": PALE,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places in [0, 1], `gap` apart, of least squared distance from the ascending `wanted`; closer
    together where they do not fit.

    Without the gaps this is an isotonic regression.
    """
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    gaps = gap * np.arange(len(wanted))
    level = isotonic_regression(wanted - gaps).x
    return np.clip(level, 0, 1 - gaps[-1]) + gaps


def _end(line) -> tuple[float, float] | None:
    """The last point of a line that is finite."""
    x, y = line.get_data()
    finite = np.flatnonzero(np.isfinite(np.asarray(y, dtype=float)))
    return (x[finite[-1]], y[finite[-1]]) if len(finite) else None
