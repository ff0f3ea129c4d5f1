"""Curvature of the training loss, as means over seeds."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.levels import diverged_runs, with_levels
from muonlab.report.measured import over_seeds


@table(
    section="tables",
    outputs={
        "curvature": (
            "curvature",
            "Curvature of the training loss on one fixed batch, the same for all runs, in "
            "evaluation mode and at the precision in ``dtype``: mean, standard deviation and "
            "{interval} t interval over the seeds of each arm of **{title}** on *{data}* "
            "(protocol: {protocol}). ``sharpness`` is the top eigenvalue of the Hessian, "
            "``hessian_trace_error`` the standard error of Hutchinson's estimate in one run. "
            "``directional_sharpness`` is the curvature along the run's own last update; at the "
            "start there is no such update. ``gradient_hessian_cosine`` is the absolute cosine "
            "between the gradient and the top eigenvector. At *loss 1* to *loss "
            "{levels}* all arms have the batch's loss ``level``, which every run passed; values "
            "are interpolated between the two snapshots beside it.",
        ),
    },
)
def curvature(
    curvature_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> pd.DataFrame:
    """The start, the levels of equal loss, and the end."""
    records = curvature_records
    scalars = records[~records.metric.isin(["density_node", "density_weight"])]
    keys = ["metric", "index", "examples", "dtype", "backend"]
    diverged = diverged_runs(runs, summaries)
    scalars = with_levels(scalars, keys, diverged, study["levels"])
    return over_seeds(scalars, ["point", "level", *keys], study)
