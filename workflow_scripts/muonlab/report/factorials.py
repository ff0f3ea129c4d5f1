"""What two components of an optimizer contribute: four arms with both, either, or neither."""

from collections.abc import Sequence

import pandas as pd

from muonlab.report.records import loss_of

OUTCOME = "final_loss"
MEAN = "mean loss"


def final_losses(runs: Sequence[dict], summaries: Sequence[dict]) -> pd.DataFrame:
    """arm, seed, outcome, value: each run's final evaluation loss in nats; NaN if it diverged."""
    return pd.DataFrame(
        {
            "arm": run["arm"],
            "seed": run["seed"],
            "outcome": OUTCOME,
            "value": loss_of(summary, OUTCOME),
        }
        for run, summary in zip(runs, summaries, strict=True)
    )
