"""How much the updates are aligned with the weights, beyond what random matrices are."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.panels import over_training
from muonlab.report.style import finish, study_notes, use_style


@figure(
    title="update–weight alignment",
    section="dynamics",
    caption="Alignment of single updates with "
    "the weights over training on *{data}*: mean cosine of "
    "the principal angles between the top 5 left and right singular subspaces, minus its value for "
    "random matrices of the same shape (the dotted line at 0). Means over layers; lines over n = "
    "{n} seeds, bands {interval} t intervals. Protocol: {protocol}.",
)
def update_alignment(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: the excess over the null of its shape, over steps."""
    use_style()
    figure = over_training(layer_dynamics, "step_excess", study, "alignment − null", reference=0.0)
    title = f"{study['title']}: alignment of updates with weights beyond chance"
    finish(figure, title, study_notes(study))
    return figure
