"""What two components of an optimizer contribute, from factorials of four arms."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import nothing
from muonlab.report.factorials import MEAN
from muonlab.report.style import BLACK, BLUE, GREEN, MUTED, finish, study_notes, use_style
from muonlab.statistics.verdicts import DIFFERENT


@figure(
    title="contributions of components",
    section="experiments",
    caption="Above: mean final losses on *{data}* of arms with both components of the optimizer, "
    "one of them, or neither, with {interval} t intervals over n = {n} seeds per arm; lines that "
    "are not parallel are an interaction. Below: the cost of removing each component from the arm "
    "with both (its contribution), the difference of the two contributions, and their synergy "
    "(contribution minus the gain from adding the component to neither), with {interval} intervals "
    "of paired differences, which hold together over these four questions; filled marks are those "
    "whose interval excludes 0. *Alone* is uncorrected. At the same learning rate, a step without "
    "orthogonalization also has another size; the panels with matched steps remove that "
    "difference. Protocol: {protocol}.",
)
def contributions(
    factorials_table: pd.DataFrame, factorials: Sequence[dict], study: dict
) -> Figure:
    """For each factorial the four arms' losses, and below them the effects with their intervals.

    Lines that are not parallel are an interaction.
    """
    use_style()
    figure, axes = plt.subplots(
        2,
        len(factorials),
        figsize=(1.2 + 4.2 * len(factorials), 6.2),
        squeeze=False,
        sharex="row",
        sharey="row",
        height_ratios=(1, 1.15),
    )
    for (above, below), factorial in zip(axes.T, factorials, strict=True):
        own = factorials_table[factorials_table.factorial == factorial["label"]]
        _losses(above, own[own.effect == MEAN], factorial)
        _forest(below, own, factorial)
        above.set_title(factorial["label"])
    axes[0][0].set_ylabel(f"final {study['training']['evaluate_on']} loss (nats)")
    axes[0][0].legend(loc="best")
    notes = study_notes(study, "bars: {} t interval of the mean, of paired differences")
    notes.insert(1, "filled: the interval excludes 0, simultaneously for the four above the dots")
    finish(figure, f"{study['title']}: what each component is worth", notes)
    return figure


def _losses(axis: Axes, means: pd.DataFrame, factorial: dict) -> None:
    """Mean losses: the second component along the axis, one line with and one without the first."""
    first, second = factorial["first"], factorial["second"]
    by_arm = means.set_index("component")
    lines = {
        f"with {first}": (["both", f"without {second}"], BLUE, "o", "-"),
        f"without {first}": ([f"without {first}", "neither"], MUTED, "s", "--"),
    }
    for i, (label, (arms, colour, marker, dashes)) in enumerate(lines.items()):
        own = by_arm.loc[arms]
        x = np.arange(2) + 0.03 * (2 * i - 1)
        value = own.value.to_numpy(dtype=float)
        reach = np.abs(own[["low", "high"]].to_numpy(dtype=float).T - value)
        axis.errorbar(
            x,
            value,
            yerr=reach,
            color=colour,
            marker=marker,
            linestyle=dashes,
            label=label,
            markersize=5,
            linewidth=1.6,
            elinewidth=1.2,
            capsize=2.5,
        )
    axis.set_xticks([0, 1], [f"with {second}", f"without {second}"])
    axis.set_xlim(-0.35, 1.35)
    axis.grid(axis="x", visible=False)


def _forest(axis: Axes, table: pd.DataFrame, factorial: dict) -> None:
    """Draws the effects as marks with intervals, the main questions on top, values beside them."""
    first, second = factorial["first"], factorial["second"]
    rows = {
        ("contribution", first): (f"removing {first} costs", BLUE),
        ("contribution", second): (f"removing {second} costs", GREEN),
        ("difference of contributions", f"{first} − {second}"): ("difference of the two", BLACK),
        ("synergy", f"{first} and {second}"): ("synergy", BLACK),
        ("alone", first): (f"{first} alone gains", BLUE),
        ("alone", second): (f"{second} alone gains", GREEN),
    }
    found = table.set_index(["effect", "component"])
    if not np.isfinite([found.loc[key, "value"] for key in rows]).any():
        nothing(axis, "Not estimable: runs diverged.")
        return
    for y, (key, (_, colour)) in enumerate(rows.items()):
        row = found.loc[key]
        sure = row.verdict in DIFFERENT
        if np.isfinite(row.low):
            axis.hlines(y, row.low, row.high, color=colour, linewidth=1.6)
        axis.plot(row.value, y, "o", color=colour, mfc=colour if sure else "white", markersize=5.5)
        if np.isfinite(row.value):
            axis.annotate(
                f"{row.value:+#.2g}".replace("-", "−"),
                (row.value, y),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=colour,
            )
    axis.axvline(0, color=MUTED, linewidth=0.9)
    axis.axhline(3.5, color=MUTED, linewidth=0.6, linestyle=":")
    axis.set_yticks(range(len(rows)), [label for label, _ in rows.values()])
    axis.set_ylim(len(rows) - 0.5, -0.7)
    axis.set_xlabel("difference of losses (nats); above 0 the component helps")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
