"""What two components of an optimizer contribute: four arms with both, either, or neither."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

OUTCOME = "final_loss"
MEAN = "mean loss"


def final_losses(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """arm, seed, outcome, value: each run's final evaluation loss in nats; NaN if it has none."""
    return pd.DataFrame(
        {
            "arm": run["arm"],
            "seed": run["seed"],
            "outcome": OUTCOME,
            "value": np.nan if summary[OUTCOME] is None else float(summary[OUTCOME]),
        }
        for run, summary in zip(runs, summaries, strict=True)
    )
