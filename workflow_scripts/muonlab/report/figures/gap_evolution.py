"""How far the largest singular value stands out."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.panels import over_training
from muonlab.report.style import finish, study_notes, use_style


@figure(
    title="spectral gap",
    section="dynamics",
    caption="Spectral gap σ₁/σ₂ of the weights over training on *{data}*. Means over layers; lines "
    "over n = {n} seeds, bands {interval} t intervals. Protocol: {protocol}.",
)
def spectral_gap(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: the gap of its weights over steps."""
    use_style()
    figure = over_training(layer_dynamics, "spectral_gap", study, "σ₁ / σ₂")
    finish(figure, f"{study['title']}: spectral gap of the weights", study_notes(study))
    return figure
