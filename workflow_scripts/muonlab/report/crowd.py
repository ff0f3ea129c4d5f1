"""Lines of many arms in one panel: only the tuned arms are in colour, and the names stand at the
ends of the lines instead of in a legend."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from muonlab.report.style import MUTED, ArmStyle, arm_styles

MANY = 6  # up to this many arms can be distinguished by colours, dashes and a legend
PALE = "#a7afb8"
LINE = 8.5  # distance between two names, in points


def is_crowd(arms: Sequence[dict]) -> bool:
    return len(arms) > MANY


def line_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """`arm_styles`; in a crowd only the tuned arms are in colour, drawn above the others, which
    become thin grey lines that keep their dashes."""
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
    """Height in inches that a panel needs for the names at its right, but not below `least`."""
    return max(least, 0.6 + len(arms) * LINE / 72) if is_crowd(arms) else least


def end_labels(axis: Axes, styles: Mapping[str, ArmStyle]) -> None:
    """Writes each line's name at its end, in the order of the ends; call it after all is drawn.

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
    """Places in [0, 1], at least `gap` apart, that minimise the squared distance from the ascending
    `wanted`; they are closer together where they would not fit otherwise.

    After the gaps are subtracted, this is an isotonic regression.
    """
    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    gaps = gap * np.arange(len(wanted))
    level = isotonic_regression(wanted - gaps).x
    return np.clip(level, 0, 1 - gaps[-1]) + gaps


def _end(line) -> tuple[float, float] | None:
    """The last finite point of a line."""
    x, y = line.get_data()
    finite = np.flatnonzero(np.isfinite(np.asarray(y, dtype=float)))
    return (x[finite[-1]], y[finite[-1]]) if len(finite) else None
