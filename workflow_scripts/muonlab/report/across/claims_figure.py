"""Every claim on one picture: our interval, scaled so that right is what the claim says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from muonlab.declare import figure
from muonlab.report.claim_words import by_claim, colour_of, deciding, measured, ran
from muonlab.report.style import (
    BLACK,
    GREEN,
    MUTED,
    ORANGE,
    VERMILION,
    finish,
    use_style,
)

ROW = 0.31  # inches
COLOURS = {
    "holds": GREEN,
    "fails": VERMILION,
    "depends": ORANGE,
    "open": "#6b7480",
    "none": "#c3c9d0",
}
# Left ends of the columns and of the axes with the bars, and their width, in widths of the figure.
CLAIM, STUDY, BARS, WIDTH, VALUE, VERDICT = 0.012, 0.30, 0.36, 0.225, 0.593, 0.815


@figure(
    title="claims",
    section="claims",
    caption="Every published claim and what the records of *{name}* say of it. Bars are the "
    "simultaneous intervals of the comparisons that decide under the fair protocol, each scaled by "
    "the largest limit of its row and turned so that the claimed side is at the right; diamonds "
    "are the values under the source's protocol. A claim holds where every bar lies right of the "
    "line. Claims about a range have no bar. Data: {data}.",
)
def claims_overview(claims: pd.DataFrame, name: str) -> Figure:
    """One row for each claim and study in which it was tested; a claim that was not run has one."""
    use_style()
    rows = _rows(claims)
    height = 1.0 + ROW * (len(rows) + 1)
    figure = plt.figure(figsize=(11.5, height))
    axis = figure.add_axes((BARS, 0.5 / height, WIDTH, 1 - 0.9 / height))
    axis.set_ylim(len(rows) - 0.4, -1.0)
    axis.set_xlim(-1.08, 1.08)
    axis.axvline(0, color=MUTED, linewidth=0.9)
    for text, x in (("claim", CLAIM), ("study", STUDY), ("our value, fair [interval]", VALUE)):
        _say(axis, -0.75, text, x, MUTED)
    _say(axis, -0.75, "verdict", VERDICT, MUTED)
    axis.text(0.52, -0.75, "as claimed →", fontsize=7.5, color=MUTED, ha="center", va="center")
    axis.text(-0.52, -0.75, "← the other way", fontsize=7.5, color=MUTED, ha="center", va="center")
    last = None
    for place, own in enumerate(rows):
        first = own.iloc[0]
        if first.number != last:
            if last is not None:
                _rule(axis, place - 0.5)
            _say(axis, place, f"{first.number}  {first.short}", CLAIM, BLACK)
        last = first.number
        _row(axis, place, own)
    axis.set_yticks([])
    axis.set_xticks([])
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.grid(False)
    notes = [
        "bars: simultaneous intervals of what decides, scaled in each row · "
        "diamond: under the source's protocol, where it was run",
        "several bars in a row: all of them must lie at the right",
    ]
    finish(figure, f"{name}: which published claims survive", notes, tight=False)
    return figure


def _rows(table: pd.DataFrame) -> list[pd.DataFrame]:
    found = []
    for _, claim in by_claim(table):
        own = [rows for _, rows in claim.groupby("study", sort=False) if len(ran(rows))]
        found += own or [claim.iloc[:1]]
    return found


def _row(axis: Axes, place: int, rows: pd.DataFrame) -> None:
    first, known = rows.iloc[0], ran(rows)
    said = str(first.verdict_in_study)
    colour = COLOURS[colour_of(said)]
    if known.empty:
        _say(axis, place, "not run", VERDICT, COLOURS["none"])
        return
    _say(axis, place, first.study, STUDY, MUTED)
    decides = ran(deciding(rows))
    if len(decides):
        _bars(axis, place, decides, colour)
        told = measured(decides.iloc[0], "fair")
        more = f"  +{len(decides) - 1}" if len(decides) > 1 else ""
        _say(axis, place, f"{told}{more}", VALUE, BLACK)
    _badge(axis, place, said, colour)


def _bars(axis: Axes, place: int, rows: pd.DataFrame, colour: str) -> None:
    signs = rows.expected.map({"higher": 1, "lower": -1, "not higher": -1})
    if signs.isna().any():
        told = rows.iloc[0].expected.replace("0 to ", "below ").replace(" to ", "–")
        axis.text(0, place, f"claimed: {told}", ha="center", va="center", fontsize=7.5, color=MUTED,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
        return
    limits = rows[["fair_low", "fair_high"]].to_numpy(dtype=float)
    values = rows.fair_value.to_numpy(dtype=float)
    reaches = np.fmax(np.nanmax(np.abs(limits), axis=1, initial=1e-12), np.abs(values))
    reaches = rows.assign(reach=reaches).groupby("unit").reach.transform("max").to_numpy()
    published = rows.published_value.to_numpy(dtype=float)
    offsets = np.linspace(-0.26, 0.26, len(rows)) if len(rows) > 1 else [0.0]
    for i, offset in enumerate(offsets):
        sign = signs.iloc[i] / reaches[i]
        axis.hlines(place + offset, *(sign * limits[i]), color=colour, linewidth=1.6)
        axis.plot(sign * values[i], place + offset, "o", color=colour, markersize=3.4)
        if np.isfinite(published[i]):
            x = np.clip(sign * published[i], -1.05, 1.05)
            axis.plot(x, place + offset, "D", color=BLACK, mfc="white", markersize=3.6, mew=0.8)


def _badge(axis: Axes, place: int, said: str, colour: str) -> None:
    _say(axis, place, said, VERDICT, colour, "bold")


def _say(
    axis: Axes, place: float, text: str, x: float, colour: str, weight: str = "normal"
) -> None:
    axis.text(x, place, text, transform=_beside(axis), ha="left", va="center", fontsize=7.8,
              color=colour, fontweight=weight, clip_on=False)  # fmt: skip


def _rule(axis: Axes, place: float) -> None:
    axis.plot((0.012, 0.985), (place, place), transform=_beside(axis), color="#e3e7eb", lw=0.8,
              clip_on=False, zorder=0)  # fmt: skip


def _beside(axis: Axes):
    """x in widths of the figure, y in the rows of the axes."""
    return blended_transform_factory(axis.figure.transFigure, axis.transData)
