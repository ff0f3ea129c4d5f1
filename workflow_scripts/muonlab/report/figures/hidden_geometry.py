"""How the geometry of weights and steps develops over training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band, log_band
from muonlab.report.measured import HIDDEN_COMPONENTS
from muonlab.report.style import (
    MUTED,
    arm_styles,
    finish,
    log_axis,
    study_notes,
    use_style,
)

# object, metric, title, and whether its axis is logarithmic
PANELS = (
    ("weight", "spectral_entropy", "spectral entropy", False),
    ("weight", "effective_rank", "effective rank", False),
    ("weight", "condition_number", "condition number", True),
    ("weight", "spectral_norm", "spectral norm", False),
    ("step", "relative_update", "relative update ‖ΔW‖/‖W‖", True),
    ("step", "update_gradient_cosine", "cos(update, gradient)", False),
)


@figure(
    title="geometry over training",
    section="geometry",
    caption="Geometry of the hidden layers' weight matrices, and of single optimizer steps, over "
    "training on *{data}*: means over the hidden layers of a run, lines over n = {n} seeds per "
    "arm, bands {interval} t intervals; condition number and relative update as geometric means. "
    "The cosine is between a step and the gradient of the batch that the step was computed from. "
    "All other metrics, matrices and objects are in each run's ``records/geometry.parquet``. "
    "Protocol: "
    "{protocol}.",
)
def geometry(geometry_records: pd.DataFrame, study: dict) -> Figure:
    """Means over the hidden layers' matrices of each run, with bands over seeds.

    `geometry_records`: arm, seed, step, tensor, component, object, metric, value.
    """
    use_style()
    figure, axes = plt.subplots(2, 3, figsize=(9.0, 5.2), sharex=True)
    styles = arm_styles(study["arms"])
    hidden = geometry_records[geometry_records.component.isin(HIDDEN_COMPONENTS)]
    if hidden.empty:
        hidden = geometry_records[geometry_records.component != "all"]
    for axis, (kind, metric, title, logarithmic) in zip(axes.flat, PANELS, strict=True):
        rows = hidden[(hidden.object == kind) & (hidden.metric == metric)]
        rows = _mean_over_layers(rows, logarithmic)
        for arm, style in styles.items():
            own = rows[rows.arm == arm]
            draw = log_band if logarithmic else band
            draw(axis, own, style, own.step, study["alpha"])
        axis.set_title(title)
        axis.margins(x=0.01)
        if logarithmic:
            _readable_log(axis)
    axes[1][2].axhline(0, color=MUTED, linewidth=0.9, linestyle=":")
    for axis in axes[1]:
        axis.set_xlabel("step")
    arm_legend(figure, axes[0][0])
    finish(figure, f"{study['title']}: geometry of the hidden layers", study_notes(study))
    return figure


def _mean_over_layers(rows: pd.DataFrame, geometric: bool) -> pd.DataFrame:
    values = np.log(rows.value) if geometric else rows.value
    means = rows.assign(value=values).groupby(["arm", "seed", "step"], sort=False).value
    means = means.mean(skipna=False).reset_index()
    return means.assign(value=np.exp(means.value)) if geometric else means


def _readable_log(axis: Axes) -> None:
    low, high = axis.get_ylim()
    if high / max(low, 1e-300) < 300:  # few decades: label 1, 2 and 5
        log_axis(axis.yaxis)
