"""Loss against the seconds that the updates took, beside loss against updates."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band
from muonlab.report.crowd import PALE, is_crowd, legend_styles, main_arms
from muonlab.report.style import finish, log_axis, study_notes, use_style


@figure(
    title="loss against time",
    section="training",
    caption="Loss on the {split} split of *{data}* over updates and over the seconds that the "
    "updates of a run took, evaluations aside: means over n = {n} seeds per arm, bands {interval} "
    "t intervals. Seconds of an update are the median over the arm's runs, so that a load on the "
    "machine during one run does not bend its curve. With many arms, those that are compared are "
    "shown. Protocol: {protocol}.",
)
def loss_against_time(
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
) -> Figure:
    """`metrics`: arm, seed, step, split, metric, value; the records are in the order of `runs`."""
    use_style()
    own = metrics[(metrics.split == study["training"]["evaluate_on"]) & (metrics.metric == "loss")]
    seconds = update_seconds(runs, summaries, provenances)
    styles = legend_styles(study["arms"])
    if is_crowd(study["arms"]):
        styles = {arm: styles[arm] for arm in main_arms(study["arms"])}
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), sharey=True)
    _curves(axes[0], own, styles, dict.fromkeys(styles, 1.0), study["alpha"])
    _curves(axes[1], own, styles, seconds, study["alpha"])
    axes[0].set(xlabel="updates", ylabel="cross-entropy (nats)")
    axes[1].set_xlabel("seconds in updates")
    axes[0].set_title("loss over updates")
    axes[1].set_title("loss over time")
    axes[0].set_yscale("log")
    log_axis(axes[0].yaxis)
    arm_legend(figure, axes[0])
    finish(figure, f"{study['title']}: loss against time", study_notes(study))
    return figure


def update_seconds(
    runs: Sequence[dict], summaries: Sequence[dict], provenances: Sequence[dict]
) -> dict[str, float]:
    """The median over an arm's runs of the seconds of an update; NaN where no run recorded them."""
    found: dict[str, list[float]] = {}
    for run, summary, provenance in zip(runs, summaries, provenances, strict=True):
        whole = provenance.get("seconds_in_updates")
        each = np.nan if whole is None else whole / max(summary["steps"], 1)
        found.setdefault(run["arm"], []).append(each)
    return {
        arm: float(np.nanmedian(each)) if np.isfinite(each).any() else np.nan
        for arm, each in found.items()
    }


def _curves(
    axis: Axes, rows: pd.DataFrame, styles: dict, scale: dict[str, float], alpha: float
) -> None:
    for arm, style in styles.items():
        own = rows[rows.arm == arm]
        if len(own) and np.isfinite(scale.get(arm, np.nan)):
            band(axis, own, style, own.step * scale[arm], alpha, style.colour != PALE)
    axis.margins(x=0.01)
