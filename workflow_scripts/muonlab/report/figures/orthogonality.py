"""How far the weights are from orthogonal matrices."""

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.panels import over_training
from muonlab.report.style import finish, study_notes, use_style


@figure(
    title="orthogonality error",
    section="dynamics",
    caption="Orthogonality error ‖WᵀW/σ₁² − I‖ / √d of the weights over training on *{data}*, over "
    "their short side d; it is 0 where all singular values are equal. Means over layers; lines "
    "over n = {n} seeds, bands {interval} t intervals. Protocol: {protocol}.",
)
def orthogonality_error(layer_dynamics: pd.DataFrame, study: dict) -> Figure:
    """A panel for each component: the error of its weights over steps."""
    use_style()
    figure = over_training(layer_dynamics, "orthogonality_error", study, "orthogonality error")
    finish(figure, f"{study['title']}: orthogonality error of the weights", study_notes(study))
    return figure
