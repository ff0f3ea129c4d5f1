"""How many directions a single update moves in."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.panels import over_training
from muonlab.report.style import finish, study_notes, use_style


@figure(
    title="update rank",
    section="dynamics",
    caption="Effective rank of single updates (exponential of the entropy of the singular values) "
    "over training on *{data}*, as a share of the largest possible; 1 means equal singular values. "
    "Means over layers; lines over n = {n} seeds, bands {interval} t intervals. Protocol: "
    "{protocol}.",
)
def update_rank(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: the effective rank of its updates over its short side."""
    use_style()
    short = layer_dynamics[["rows", "columns"]].min(axis=1)
    table = layer_dynamics.assign(share=layer_dynamics.step_effective_rank / short)
    figure = over_training(table, "share", study, "effective rank / r", reference=1.0)
    finish(figure, f"{study['title']}: effective rank of the updates", study_notes(study))
    return figure
