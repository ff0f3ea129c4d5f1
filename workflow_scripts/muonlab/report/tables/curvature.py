"""Curvature of the training loss, as means over seeds."""

import pandas as pd

from muonlab.declare import table
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
            "between the gradient and the top eigenvector. Rows of the trajectory name their step. "
            "At the matched loss, n counts the runs that reached it.",
        ),
    },
)
def curvature(curvature_records: pd.DataFrame, study: dict) -> pd.DataFrame:
    """The named points, and every step of the trajectory. At the matched loss `step` stays empty,
    because the step differs from run to run."""
    records = curvature_records
    scalars = records[~records.metric.isin(["density_node", "density_weight"])].copy()
    scalars["step"] = scalars.step.where(scalars.point == "trajectory").astype("Int64")
    keys = ["point", "step", "metric", "index", "examples", "dtype", "backend"]
    return over_seeds(scalars, keys, study)
