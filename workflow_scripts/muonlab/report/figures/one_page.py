"""One page that sums a study up: who ends where, the claims, and whether it can be trusted."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.crowd import MANY, main_arms
from muonlab.report.numbers import interval, number
from muonlab.report.style import (
    BLACK,
    GREEN,
    MUTED,
    VERMILION,
    arm_styles,
    finish,
    study_notes,
    use_style,
)
from muonlab.report.words import said
from muonlab.statistics.verdicts import BETTER, DIFFERENT, EQUIVALENT, WORSE

ARMS = 10  # arms that are shown: the main ones, then those with the lowest loss
LINES = 13  # lines of the list of claims
ABOVE, LINE = 3.9, 0.34  # inches of the upper row, and of a line of the list
SIGNS = {"pass": ("✓", GREEN), "fail": ("✗", VERMILION)}
COLOURS = {BETTER: GREEN, WORSE: VERMILION}


@figure(
    title="summary of the study",
    section="findings",
    caption="**{title}** on *{data}* on one page: final and test losses of the main arms and of "
    "those that end lowest (means over n = {n} seeds with {interval} t intervals), the first "
    "comparison of each declared claim with its simultaneous interval, and the anchor checks. "
    "Protocol: {protocol}.",
)
def study_summary(
    summary: pd.DataFrame,
    contrasts: pd.DataFrame,
    anchor_checks: pd.DataFrame,
    comparison: Mapping,
    study: dict,
) -> Figure:
    """From the tables `summary`, `contrasts` and `anchor_checks` alone."""
    use_style()
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    declared = [family for family in comparison["families"] if family["declared"]]
    lines = [line for f in declared for line in _line(f, contrasts, labels)][:LINES]
    below = 0.4 + LINE * max(1, len(lines))
    figure = plt.figure(figsize=(11.0, 0.9 + ABOVE + below))
    grid = figure.add_gridspec(2, 3, height_ratios=(ABOVE, below), width_ratios=(1, 1, 1.25))
    shown = shown_arms(summary, study["arms"])
    left, middle = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    for axis, outcome, title in (
        (left, "final_loss", "final loss"),
        (middle, "test_loss", "test loss"),
    ):
        _losses(axis, summary[summary.outcome == outcome], shown, study["arms"])
        axis.set_title(f"{title} (nats)")
    middle.set_yticklabels([])
    _checks(figure.add_subplot(grid[0, 2]), anchor_checks)
    _claims(figure.add_subplot(grid[1, :]), lines)
    notes = study_notes(study, "bars: {} t interval of the mean")
    notes.insert(1, f"tuned: {_tuned(study)}")
    finish(figure, f"{study['title']}: the study on one page", notes)
    return figure


def shown_arms(summary: pd.DataFrame, arms: Sequence[dict]) -> list[str]:
    """The arms of the page, those with the lowest final loss first."""
    losses = summary[summary.outcome == "final_loss"].set_index("arm")["mean"]
    order = losses.fillna(np.inf).sort_values(kind="stable").index
    main = main_arms(arms) if len(arms) > MANY else [arm["name"] for arm in arms]
    kept = dict.fromkeys([*main, *order])
    return [arm for arm in order if arm in list(kept)[:ARMS]]


def _losses(axis: Axes, rows: pd.DataFrame, shown: Sequence[str], arms: Sequence[dict]) -> None:
    own, styles = rows.set_index("arm"), arm_styles(arms)
    labels = {arm["name"]: arm["label"] for arm in arms}
    main = main_arms(arms)
    for place, arm in enumerate(shown):
        row, colour = own.loc[arm], styles[arm].colour if arm in main else MUTED
        if not np.isfinite(row["mean"]):
            axis.text(0.02, place, "diverged", transform=axis.get_yaxis_transform(), va="center",
                      fontsize=7, color=MUTED)  # fmt: skip
            continue
        if np.isfinite(row.low):
            axis.hlines(place, row.low, row.high, color=colour, linewidth=1.6)
        axis.plot(row["mean"], place, "o", color=colour, markersize=5)
        axis.annotate(number(row["mean"]), (row["mean"], place), xytext=(0, 5), fontsize=6.5,
                      textcoords="offset points", ha="center", color=MUTED)  # fmt: skip
    names = ["\n".join(wrap(labels[arm], 26)) for arm in shown]
    axis.set_yticks(range(len(shown)), names, fontsize=7.5)
    axis.set_ylim(len(shown) - 0.4, -0.7)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)


def _checks(axis: Axes, checks: pd.DataFrame) -> None:
    _bare(axis, "can it be trusted? (anchor checks)")
    for place, row in enumerate(checks.itertuples()):
        sign, colour = SIGNS.get(row.result, ("–", MUTED))
        y = 0.97 - 0.118 * place
        axis.text(0.0, y, sign, fontsize=10, color=colour, fontweight="bold", va="top")
        axis.text(0.055, y, row.check, fontsize=8, color=BLACK, va="top")
        told = row.found if row.result in SIGNS else "not applicable"
        text = wrap(str(told), 66)[:1]
        axis.text(0.055, y - 0.052, "".join(text), fontsize=6.6, color=MUTED, va="top")


def _claims(axis: Axes, lines: Sequence[tuple[str, str, str, str]]) -> None:
    _bare(axis, "what the study was asked")
    axis.set_ylim(-max(1, len(lines)), 0)
    if not lines:
        axis.text(0, -0.3, "The study declares no claims.", fontsize=8, color=MUTED, va="top")
    for place, (claim, told, word, colour) in enumerate(lines):
        axis.text(0.0, -place - 0.15, claim, fontsize=8, va="top", color=BLACK)
        axis.text(0.36, -place - 0.15, told, fontsize=7.4, va="top", color=MUTED)
        axis.text(0.85, -place - 0.15, word, fontsize=8, va="top", color=colour, fontweight="bold")


def _line(
    family: Mapping, contrasts: pd.DataFrame, labels: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    """The claim of a family, its first comparison with its interval, and the verdict."""
    rows = contrasts[contrasts.family == family["name"]]
    if rows.empty:
        return
    row = next(rows.itertuples())
    more = f" (+{len(rows) - 1})" if len(rows) > 1 else ""
    claim = (family["claim"] or family["name"].replace("_", " ")).rstrip(".")
    numbers = interval(row.difference, row.low, row.high, sign=True)
    pair = f"{labels[row.arm_a]} − {labels[row.arm_b]}"
    colour = COLOURS.get(row.verdict, BLACK if row.verdict in (*DIFFERENT, EQUIVALENT) else MUTED)
    short = pair if len(pair) <= 34 else pair[:33] + "…"
    yield "\n".join(wrap(claim, 46)), f"{short}: {numbers}{more}", said(row), colour


def _bare(axis: Axes, title: str) -> None:
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_title(title)


def _tuned(study: dict) -> str:
    told = [
        f"{arm['label']} {', '.join(f'{k} {v:g}' for k, v in arm['settings'].items())}"
        for arm in study["arms"]
        if arm["name"] in ("adamw", "muon")
    ]
    return "; ".join(told) or "no arm of AdamW or Muon"
