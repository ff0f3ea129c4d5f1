"""Where the difference of two arms grows and where it vanishes: one panel for each factor."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from muonlab.declare import figure
from muonlab.report.gains import BRACKETED, LOSS, TUNED
from muonlab.report.style import BLUE, MUTED, VERMILION, finish, study_notes, use_style
from muonlab.statistics.gain_trend import GROWS, SHRINKS
from muonlab.statistics.verdicts import DIFFERENT

ACROSS = 4  # panels in a row
MARKS = {TUNED: ("o", VERMILION), BRACKETED: ("s", BLUE)}


@figure(
    title="where the gain grows and where it vanishes",
    section="experiments",
    caption="Final loss of Muon minus AdamW of **{title}** at each level of what is varied beside "
    "the optimizer, paired by seed: below 0, Muon is better. Circles have the settings that tuning "
    "chose for the study; squares have the multiple of the rate that the other seeds choose, for "
    "each arm by itself. Bars are simultaneous {interval} intervals over all differences of the "
    "table; filled marks are those whose verdict is better or worse. The grey band is the smallest "
    "difference of interest. Above each panel: what becomes of Muon's lead with the dose, and its "
    "change per doubling with an interval that holds together with those of the other panels. "
    "Differences are taken within one level, never across. Protocol: {protocol}.",
)
def gains(
    gains_table: pd.DataFrame,
    gain_trends: pd.DataFrame,
    factors: Mapping[str, dict],
    comparison: Mapping,
    study: dict,
) -> Figure:
    """One panel for each factor: the difference of its arms over its levels."""
    use_style()
    columns = min(ACROSS, len(factors))
    rows = -(-len(factors) // columns)
    size = (max(5.0, 3.2 * columns), 0.8 + 2.9 * rows)
    drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
    smallest = comparison["smallest_difference"].get(LOSS)
    trends = gain_trends.set_index("factor")
    for axis, name in zip(axes.flat, factors, strict=False):
        own = gains_table[gains_table.factor == name]
        _panel(axis, own, smallest)
        trend = trends.loc[name] if name in trends.index else None
        axis.set_title(f"{own.factor_label.iloc[0]}\n{_told(trend)}", fontsize=9)
    for axis in axes.flat[len(factors) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("Muon − AdamW, final loss (nats)")
    axes.flat[0].legend(loc="best")
    notes = study_notes(study, None)
    bars = f"bars: simultaneous {study['interval']} intervals over all differences shown"
    marks = "filled: better or worse · grey band: smallest difference of interest"
    notes.insert(1, f"{bars} · {marks}")
    few = gains_table[(gains_table.n < len(study["seeds"]))]
    if len(few):
        names = ", ".join(few.factor_label.unique())
        notes.insert(2, f"fewer seeds (n = {', '.join(map(str, sorted(set(few.n))))}): {names}")
    finish(drawn, f"{study['title']}: where Muon's lead grows and where it vanishes", notes)
    return drawn


def _panel(axis: Axes, own: pd.DataFrame, smallest: float | None) -> None:
    levels = list(dict.fromkeys(own.level))
    places = {level: place for place, level in enumerate(levels)}
    if smallest:
        axis.axhspan(-smallest, smallest, color=MUTED, alpha=0.12, lw=0)
    axis.axhline(0, color=MUTED, linewidth=0.9)
    kinds = [kind for kind in MARKS if kind in set(own.rate)]
    for i, kind in enumerate(kinds):
        marker, colour = MARKS[kind]
        rows = own[own.rate == kind]
        x = np.array([places[level] for level in rows.level]) + 0.16 * (i - (len(kinds) - 1) / 2)
        axis.plot(x, rows.gain, color=colour, linewidth=1.0, alpha=0.6)
        axis.vlines(x, rows.gain_low, rows.gain_high, color=colour, linewidth=1.6)
        sure = rows.gain_verdict.isin(DIFFERENT)
        for at, value, filled in zip(x, rows.gain, sure, strict=True):
            axis.plot(at, value, marker, color=colour, mfc=colour if filled else "white", ms=5.5)
        axis.plot([], [], marker, color=colour, label=f"rate {kind}")
    labels = own.drop_duplicates("level").label
    axis.xaxis.set_major_locator(FixedLocator(range(len(levels))))
    axis.xaxis.set_major_formatter(FixedFormatter(list(labels)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelrotation=20 if len("".join(labels)) > 26 else 0)
    axis.set_xlim(-0.5, len(levels) - 0.5)
    axis.grid(axis="x", visible=False)


def _told(trend: pd.Series | None) -> str:
    """The trend of a factor in one line."""
    if trend is None:
        return "no dose, no trend"
    word = f"lead {trend.verdict}" if trend.verdict in (GROWS, SHRINKS) else trend.verdict
    if not np.isfinite(trend.slope):
        return word
    limits = (
        f" [{trend.slope_low:+.2g}, {trend.slope_high:+.2g}]"
        if np.isfinite(trend.slope_low)
        else ""
    )
    return f"{word}: {trend.slope:+.2g}{limits} per doubling".replace("-", "−")
