"""How the spectral norm depends on depth at the end, beside the start and a random walk."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.bands import arm_legend
from muonlab.report.layers import components_of
from muonlab.report.panels import (
    component_grid,
    label_rows,
    last_records,
    over_depth,
    readable_log,
)
from muonlab.report.stretching import ALL
from muonlab.report.style import MUTED, arm_styles, finish, study_notes, use_style


@figure(
    title="norm and depth",
    section="dynamics",
    caption="Spectral norm σ₁ of each layer's matrices "
    "at the end of training on *{data}*: lines are "
    "means over n = {n} seeds, bands {interval} t intervals; grey: at the start; dotted in an "
    "arm's colour: the σ₁ of a random walk with the same norms of updates. Numbers in a panel: "
    "how much the slope of ln σ₁ over depth changed over training, with simultaneous {interval} "
    "intervals (table *slopes over depth and training*). Protocol: {protocol}.",
)
def norm_depth(
    layer_dynamics: pd.DataFrame, stretching_slopes: pd.DataFrame, study: dict
) -> Figure:
    """A panel for each component: σ₁ over layers at the end."""
    use_style()
    components = components_of(layer_dynamics)
    figure, panels = component_grid(components, extra=0.3 * -(-len(components) // 4))
    last, first = last_records(layer_dynamics), layer_dynamics[layer_dynamics.step == 0]
    over_depth(last, "spectral_norm", study, panels, study["alpha"])
    styles = arm_styles(study["arms"])
    for component, axis in panels.items():
        start = first[first.component == component].groupby("layer").spectral_norm.mean()
        axis.plot(start.index, start, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
        own = last[last.component == component]
        for arm, style in styles.items():
            walk = own[own.arm == arm].groupby("layer").walk_norm.mean()
            axis.plot(walk.index, walk, color=style.colour, linewidth=0.9, linestyle=":")
        axis.set_yscale("log")
        readable_log(axis)
        low, high = axis.get_ylim()  # room for the numbers above the lines
        logarithmic = axis.get_yscale() == "log"
        axis.set_ylim(top=high * (high / low) ** 0.3 if logarithmic else high + 0.3 * (high - low))
        _write_slopes(axis, stretching_slopes, component, styles)
    label_rows(panels, "σ₁ at the end")
    arm_legend(figure, next(iter(panels.values())))
    notes = study_notes(study)
    notes.insert(
        1,
        "grey dashes: start · dotted: random walk with the same norms of updates · numbers: change "
        "of the slope of ln σ₁ over depth",
    )
    finish(figure, f"{study['title']}: spectral norm over depth", notes)
    return figure


def _write_slopes(axis, slopes: pd.DataFrame, component: str, styles: dict) -> None:
    """Writes the stretching of each tuned arm below the panel's title."""
    own = slopes[(slopes.component == component) & (slopes.component != ALL)]
    own = own[(own.quantity == "spectral_norm") & (own.coefficient == "stretching")]
    for i, row in enumerate(own.itertuples()):
        if i > 1 or row.arm not in styles:
            break
        limits = f" [{row.low:.2g}, {row.high:.2g}]" if pd.notna(row.low) else ""
        axis.text(
            0.02,
            1.01 - 0.095 * (i + 0.1),
            f"{row.slope:+.2g}{limits}".replace("-", "−"),
            transform=axis.transAxes,
            va="top",
            fontsize=6.5,
            color=styles[row.arm].colour,
        )
