"""What updates gain and what curvature takes back, over the loss."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from muonlab.declare import figure
from muonlab.report.descent import descents
from muonlab.report.figures.over_loss import Panel, draw_over_loss

PANELS = (
    Panel("gain", "first-order gain −gᵀΔ"),
    Panel("penalty", "curvature penalty ½ΔᵀHΔ"),
    Panel("sharpness", "ΔᵀHΔ / ‖Δ‖²"),
    Panel("within", "penalty within layers"),
    Panel("across", "penalty across layers"),
    Panel("norm", "norm of the update ‖Δ‖", True),
)


@figure(
    title="gain and penalty over the loss",
    section="curvature",
    caption="What the runs' own updates gain to first order and what curvature takes back, on one "
    "fixed training batch of *{data}* whose loss falls to the right: the first-order gain, the "
    "curvature penalty and its parts within and across layers, the normalized directional "
    "sharpness, and the norm of the update. Lines are means over n = {n} seeds per arm as far as "
    "all runs of the arm came, bands {interval} t intervals; marks are the single runs at their "
    "ends. Dotted lines: the losses that every run of all arms passed. Protocol: {protocol}.",
)
def descent_over_loss(
    descent_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> Figure:
    """A panel for each quantity, a line for each arm."""
    found = descents(descent_records, runs, summaries)
    title = "gain and curvature penalty of an update"
    return draw_over_loss(found, PANELS, study, title, "loss on the batch that is measured")
