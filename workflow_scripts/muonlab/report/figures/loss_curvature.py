"""Sharpness, trace and directional sharpness over training, and the spectrum of the Hessian."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend, band, nothing
from muonlab.report.levels import diverged_runs, on_common_steps
from muonlab.report.style import MUTED, ArmStyle, arm_styles, finish, study_notes, use_style

PANELS = (
    ("sharpness", "sharpness (top Hessian eigenvalue)"),
    ("hessian_trace", "Hessian trace"),
    ("directional_sharpness", "directional sharpness (last update)"),
)


@figure(
    title="sharpness over training",
    section="curvature",
    caption="Curvature of the training loss on one fixed batch of *{data}*, in evaluation mode: "
    "top Hessian eigenvalue, trace (Hutchinson), curvature along the run's own last update, and "
    "at the end the density of all eigenvalues (Lanczos quadrature over all seeds, smoothed by 1 "
    "% of the range). Lines are means over n = {n} seeds per arm, bands {interval} t intervals, "
    "between the steps of the snapshots by straight lines; diverged runs are left out. At the "
    "start there is no last update. Protocol: {protocol}.",
)
def sharpness(
    curvature_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """Curvature over training, mean and band over seeds.

    `curvature_records`: arm, seed, point, step, loss, metric, index, value. The last panel is
    the density of the Hessian's eigenvalues at the end, of all seeds together.
    """
    use_style()
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.0))
    styles = arm_styles(study["arms"])
    lost = diverged_runs(runs, summaries)
    for axis, (metric, title) in zip(axes.flat[:3], PANELS, strict=True):
        rows = curvature_records[curvature_records.metric == metric]
        rows = rows[rows["index"] == 0]
        for arm, style in styles.items():
            own = on_common_steps(rows[rows.arm == arm], lost)
            band(axis, own, style, own.step, study["alpha"])
        axis.axhline(0, color=MUTED, linewidth=0.9, linestyle=":")
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.sharex(axes.flat[0])
        axis.margins(x=0.02)
    ends = curvature_records[curvature_records.point == "end"]
    _density(axes.flat[3], ends, styles)
    arm_legend(figure, axes.flat[0])
    notes = study_notes(study)
    notes.insert(1, "one fixed training batch, evaluation mode")
    finish(figure, f"{study['title']}: curvature of the loss", notes)
    return figure


def _density(axis: Axes, rows: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    """Lanczos quadrature of all seeds, smoothed by a Gaussian of 1 % of the common range."""
    nodes = rows[rows.metric == "density_node"]
    if nodes.empty or not np.isfinite(nodes.value).all():
        nothing(axis, "The Hessian's density was not estimated.")
        return
    low, high = nodes.value.min(), nodes.value.max()
    width = 0.01 * ((high - low) or 1.0)
    grid = np.linspace(low - 5 * width, high + 5 * width, 600)
    for arm, style in styles.items():
        own = rows[rows.arm == arm]
        node = own[own.metric == "density_node"].value.to_numpy()
        weight = own[own.metric == "density_weight"].value.to_numpy()
        if len(node) == 0:
            continue
        z = (grid[:, None] - node) / width
        density = np.exp(-z * z / 2) @ weight / (width * np.sqrt(2 * np.pi) * own.seed.nunique())
        axis.plot(grid, density, **(style | {"marker": None}), linewidth=1.3)
    axis.set_yscale("log")
    axis.set_ylim(1e-5, 3 * max([line.get_ydata().max() for line in axis.lines] + [1e-4]))
    axis.set_title("density of Hessian eigenvalues, end")
    axis.set_xlabel("eigenvalue")
