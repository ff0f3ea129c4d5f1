"""How steadily and how fast each arm converged: small multiples, and the crossing of the curves."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from muonlab.declare import figure
from muonlab.report.bands import band, nothing
from muonlab.report.crowd import is_crowd, line_styles
from muonlab.report.style import MUTED, ArmStyle, arm_styles, finish, study_notes, use_style

CURVES = 2.4  # inches of the panel of curves
SHOWN = {
    "loss_at_10": "loss at 10 %\nof the run",
    "loss_at_100": "loss\nat the end",
    "steps_to_90": "steps to 90 %\nof the fall",
    "early_convergence_rate": "log loss,\n% per step",
    "loss_spikes_per_100": "spikes per\n100 records",
    "loss_variance_last_fifth": "variance of\nthe loss, end",
    "gradient_variation_last_fifth": "variation of\ngradient norm",
}


@figure(
    title="stability and convergence",
    section="training",
    caption="Evaluation losses of the tuned arms on *{data}*, and how steadily and how fast every "
    "arm converged: means over n = {n} seeds with {interval} t intervals. Filled marks differ from "
    "the arm whose mean is the vertical line, seed by seed (its {interval} interval excludes 0, "
    "with at least four seeds). A cross at the left means that nothing can be estimated. The table "
    "*stability and convergence* says how each number is computed. Protocol: {protocol}.",
)
def convergence(
    metrics: pd.DataFrame,
    convergence_table: pd.DataFrame,
    early_phase: pd.DataFrame,
    baseline: str,
    study: dict,
) -> Figure:
    """Small multiples: the losses of the tuned arms, and how steadily and how soon each came to
    its end, compared with the baseline."""
    use_style()
    arms = study["arms"]
    rows = 0.7 + (0.17 if is_crowd(arms) else 0.3) * len(arms)
    figure = plt.figure(figsize=(11.0, 1.1 + CURVES + rows))
    grid = figure.add_gridspec(2, len(SHOWN), height_ratios=(CURVES, rows))
    above = figure.add_subplot(grid[0, :])
    axes = [figure.add_subplot(grid[1, i]) for i in range(len(SHOWN))]
    tuned = [arm for arm in arms if arm.get("tuned", True) or arm["name"] == baseline]
    _curves(above, metrics, early_phase, tuned, study)
    styles = line_styles(arms) if is_crowd(arms) else arm_styles(arms)
    for axis, (metric, title) in zip(axes, SHOWN.items(), strict=True):
        own = convergence_table[convergence_table.metric == metric].set_index("arm")
        _marks(axis, own, styles, baseline)
        axis.set_title(title, fontsize=8)
    axes[0].set_yticks(range(len(arms)), [arm["label"] for arm in arms])
    axes[0].tick_params(axis="y", labelsize=7 if is_crowd(arms) else 8)
    label = next(arm["label"] for arm in arms if arm["name"] == baseline)
    notes = study_notes(study, "bars and bands: {} t interval of the mean")
    notes.insert(1, f"filled: differs from {label} by seed (vertical line) · × not estimable")
    finish(figure, f"{study['title']}: stability and convergence", notes)
    return figure


def _curves(
    axis: Axes, metrics: pd.DataFrame, early: pd.DataFrame, arms: Sequence[dict], study: dict
) -> None:
    """Mean evaluation losses with bands; a ring where a curve crosses the baseline's last."""
    losses = metrics[metrics.metric == "loss"]
    losses = losses[losses.split == study["training"]["evaluate_on"]]
    styles = arm_styles(arms)
    for arm, style in styles.items():
        own = losses[losses.arm == arm]
        if np.isfinite(own.value).all() and len(own):
            band(axis, own, style, own.step, study["alpha"], shaded=own.seed.nunique() > 1)
    for row in early[early.arm.isin(list(styles))].itertuples():
        _ring(axis, row, losses)
    if not axis.get_legend_handles_labels()[0]:
        nothing(axis, "Every run diverged.")
        return
    axis.set_ylabel(f"{study['training']['evaluate_on']} loss (nats)")
    axis.set_xlabel("updates; a ring where the mean curve crosses that of the baseline for good")
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.legend(handlelength=2.6, loc="upper right")


def _ring(axis: Axes, row, losses: pd.DataFrame) -> None:
    if np.isfinite(row.crossing):
        mean = losses[losses.arm == row.against].groupby("step").value.mean()
        loss = float(np.interp(row.crossing, mean.index, mean))
        axis.plot(row.crossing, loss, "o", mfc="none", mec=MUTED, markersize=8, mew=1.2, zorder=6)


def _marks(axis: Axes, rows: pd.DataFrame, styles: Mapping[str, ArmStyle], baseline: str) -> None:
    """Means with intervals, one row for each arm; a vertical line at the baseline's mean."""
    if np.isfinite(rows["mean"].get(baseline, np.nan)):
        axis.axvline(rows["mean"][baseline], color=MUTED, linewidth=0.8, linestyle=":")
    for place, (arm, style) in enumerate(styles.items()):
        row = rows.loc[arm]
        if not np.isfinite(row["mean"]):
            axis.plot(0.02, place, "x", color=MUTED, transform=axis.get_yaxis_transform())
            continue
        if np.isfinite(row.low):
            axis.hlines(place, row.low, row.high, color=style.colour, linewidth=1.4)
        sure = arm == baseline or row.difference_verdict in ("lower", "higher")
        face = style.colour if sure else "white"
        axis.plot(row["mean"], place, "o", color=style.colour, mfc=face, markersize=4.8)
    axis.set_yticks(range(len(styles)), [])
    axis.set_ylim(len(styles) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(2))
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="x", labelsize=7.5)
    axis.margins(x=0.1)
