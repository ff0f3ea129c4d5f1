"""What two components of an optimizer are worth: four arms with both, with one, with neither."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

OUTCOME = "final_loss"
MEAN = "mean loss"


def final_losses(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """arm, seed, outcome, value of each run's final evaluation loss in nats; NaN where it has
    none."""
    return pd.DataFrame(
        {
            "arm": run["arm"],
            "seed": run["seed"],
            "outcome": OUTCOME,
            "value": np.nan if summary[OUTCOME] is None else float(summary[OUTCOME]),
        }
        for run, summary in zip(runs, summaries, strict=True)
    )
