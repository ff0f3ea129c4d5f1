"""How steadily each run trained, from its training losses and gradient norms."""

import pandas as pd

from muonlab.declare import table
from muonlab.measure import stability as steadiness


@table(
    section="tables",
    outputs={
        "stability": (
            "stability of training",
            "How steadily each run of **{title}** on *{data}* trained (protocol: {protocol}), from "
            "its recorded training losses and gradient norms. ``loss_spikes`` counts losses more "
            "than three standard deviations above the mean of the ``window`` records before "
            "them. A window is 5 % of the run and at least five records. ``convergence_rate`` is "
            "the slope of the logarithm of the loss per step, with its "
            "standard error, and ``mean_loss`` the mean over all steps. Variances are rolling, "
            "over a window: the median along the run, and at its end (``_end``); they are empty "
            "where a run has fewer records. ``gradients_vanishing`` and ``gradients_exploding`` "
            "count gradient norms below 1e-7 and above 1000, ``nonfinite`` those that are no "
            "number.",
        ),
    },
)
def stability(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row for each run. `metrics`: arm, seed, step, split, metric, value."""
    own = metrics[(metrics.split == "train") & metrics.metric.isin(["loss", "gradient_norm"])]
    rows = []
    for (arm, seed), run in own.groupby(["arm", "seed"], sort=False):
        losses, norms = (run[run.metric == metric] for metric in ("loss", "gradient_norm"))
        found = steadiness.stability(losses.step, losses.value, norms.value)
        window = steadiness.window_of(len(losses))
        rows.append({"arm": arm, "seed": seed, "window": window, **found})
    return pd.DataFrame(rows)
