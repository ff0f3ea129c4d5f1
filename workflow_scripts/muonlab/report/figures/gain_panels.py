"""Where the difference of two arms grows and where it vanishes: one panel for each factor."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.gains import BRACKETED, LOSS, TUNED
from muonlab.report.style import BLUE, MUTED, VERMILION, finish, study_notes, use_style
from muonlab.statistics.gain_trend import GROWS, SHRINKS
from muonlab.statistics.verdicts import DIFFERENT, MIN_SEEDS

ACROSS = 4  # panels in a row
MARKS = {TUNED: ("o", VERMILION), BRACKETED: ("s", BLUE)}


@figure(
    title="where the gain grows and where it vanishes",
    section="experiments",
    caption="Final loss of Muon minus AdamW of **{title}** at each level of what is varied beside "
    "the optimizer, paired by seed: below 0, Muon is better. Circles have the settings that tuning "
    "chose for the study; squares have the multiple of the rate that the other seeds choose, for "
    "each arm by itself. Bars are {interval} intervals, simultaneous over the differences that may "
    "have a verdict; filled marks are those whose verdict is better or worse; thin bars, of fewer "
    "than four seeds, may be cut off. The grey band is the smallest difference of interest. "
    "Above each panel: what becomes of Muon's lead with the dose, and its change per doubling with "
    "an interval that holds together with those of the other panels. "
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
    size = (max(5.0, 2.9 * columns), 0.9 + 3.0 * rows)
    drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
    smallest = comparison["smallest_difference"].get(LOSS)
    trends = gain_trends.set_index("factor")
    for axis, name in zip(axes.flat, factors, strict=False):
        own = gains_table[gains_table.factor == name]
        _panel(axis, own, smallest)
        trend = trends.loc[name] if name in trends.index else None
        axis.set_title(own.factor_label.iloc[0], fontsize=9, pad=28)
        axis.text(0, 1.03, _told(trend), transform=axis.transAxes, fontsize=8, color=MUTED)
    for axis in axes.flat[len(factors) :]:
        axis.set_axis_off()
    axes.flat[0].set_ylim(*_limits(gains_table, smallest))
    for row in axes:
        row[0].set_ylabel("Muon − AdamW, final loss (nats)")
    arm_legend(drawn, axes.flat[0])
    notes = study_notes(study, None)
    bars = (
        f"bars: {study['interval']} intervals, simultaneous over all from {MIN_SEEDS} seeds or more"
    )
    marks = "filled: better or worse · grey band: smallest difference of interest"
    notes.insert(1, f"{bars} · {marks}")
    few = gains_table[(gains_table.n < len(study["seeds"]))]
    if len(few):
        names = ", ".join(few.factor_label.unique())
        counts = ", ".join(map(str, sorted(set(few.n))))
        cut = ", too few for a verdict; bars may be cut off" if few.n.min() < MIN_SEEDS else ""
        notes.insert(2, f"fewer seeds (n = {counts}{cut}): {names}")
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
        few = rows.n.to_numpy() < MIN_SEEDS
        axis.vlines(x[~few], rows.gain_low[~few], rows.gain_high[~few], color=colour, linewidth=1.6)
        axis.vlines(
            x[few], rows.gain_low[few], rows.gain_high[few], color=colour, lw=0.7, alpha=0.5
        )
        sure = rows.gain_verdict.isin(DIFFERENT)
        for at, value, filled in zip(x, rows.gain, sure, strict=True):
            axis.plot(at, value, marker, color=colour, mfc=colour if filled else "white", ms=5.5)
        axis.plot([], [], marker, color=colour, label=f"rate {kind}")
    labels = own.drop_duplicates("level").label
    axis.xaxis.set_major_locator(FixedLocator(range(len(levels))))
    axis.xaxis.set_major_formatter(FixedFormatter(list(labels)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelrotation=18 if len("".join(labels)) > 26 else 0)
    axis.set_xlim(-0.5, len(levels) - 0.5)
    axis.grid(axis="x", visible=False)


def _told(trend: pd.Series | None) -> str:
    """The trend of a factor in two lines."""
    if trend is None:
        return "no doses, so no trend\n"
    if trend.n < MIN_SEEDS or not np.isfinite(trend.slope_low):
        return f"no trend from {trend.n} seeds\n"
    known = trend.verdict in (GROWS, SHRINKS)
    word = f"lead {trend.verdict} with the dose" if known else trend.verdict
    numbers = f"{trend.slope:+.2g} [{trend.slope_low:+.2g}, {trend.slope_high:+.2g}]"
    return f"{word}\n{numbers} per doubling".replace("-", "−")


def _limits(table: pd.DataFrame, smallest: float | None) -> tuple[float, float]:
    """The ends of the axis: all differences, and the intervals of those that have a verdict. With
    two or three seeds, an interval may be a hundred times as wide and is cut off."""
    judged = table[table.n >= MIN_SEEDS]
    values = np.concatenate(
        [table.gain, judged.gain_low, judged.gain_high, [0.0, -(smallest or 0)]]
    )
    values = values[np.isfinite(values)]
    margin = 0.08 * float(np.ptp(values)) or 0.1
    return float(values.min()) - margin, float(values.max()) + margin
