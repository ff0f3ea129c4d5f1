"""Whether updates of low rank are those that are aligned with the weights."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.layers import components_of
from muonlab.report.panels import component_grid, label_rows
from muonlab.report.style import MUTED, arm_styles, finish, study_notes, use_style


@figure(
    title="alignment and rank",
    section="dynamics",
    caption="Alignment of updates with weights beyond that of random matrices, over the effective "
    "rank of the updates as a share of the largest possible, on *{data}*: each point is one layer "
    "of a run (n = {n} seeds per arm), as the mean over the second half of training. Protocol: "
    "{protocol}.",
)
def alignment_rank(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component, a point for each layer and run."""
    use_style()
    table = layer_dynamics[layer_dynamics.step_excess.notna()]
    table = table.assign(share=table.step_effective_rank / table[["rows", "columns"]].min(axis=1))
    late = table[table.step >= table.step.max() / 2]
    keys = ["arm", "seed", "component", "layer"]
    points = late.groupby(keys)[["share", "step_excess"]].mean().reset_index()
    figure, panels = component_grid(components_of(layer_dynamics))
    for component, axis in panels.items():
        own = points[points.component == component]
        for arm, style in arm_styles(study["arms"]).items():
            rows = own[own.arm == arm]
            axis.plot(
                rows.share,
                rows.step_excess,
                linestyle="none",
                marker=style["marker"],
                color=style.colour,
                label=style["label"],
                markersize=3.5,
                alpha=0.75,
            )
        axis.axhline(0, color=MUTED, linewidth=0.9, linestyle=":")
        axis.set_xlabel("effective rank / r")
    label_rows(panels, "alignment − null")
    arm_legend(figure, next(iter(panels.values())))
    finish(figure, f"{study['title']}: alignment and rank of updates", study_notes(study, None))
    return figure
