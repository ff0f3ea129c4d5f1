"""What the study says about the published claims on training dynamics, comparison by comparison."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.dynamics import COLUMNS, claim_rows
from muonlab.report.stretching import pairs_of_optimizers


@table(
    section="dynamics",
    outputs={
        "dynamics_claims": (
            "claims on training dynamics",
            "The comparisons behind the claims on training dynamics in **{title}** on *{data}* "
            "(protocol: {protocol}), n = {n} seeds per arm: 8 (σ₁ grows with depth), 9 (updates "
            "are less aligned with the weights), 10 (higher spectral entropy), 13 (less spread "
            "from seed to seed). Each row is a difference a − b with its simultaneous {interval} "
            "interval in a family of ``family_size``, or the value of one arm where ``arm_b`` is "
            "empty. The claim asks for the verdict ``expected``. Alignments are excesses over the "
            "alignment of random matrices of the same shape, means over the hidden layers' "
            "matrices; at *loss 1* to *loss {levels}* both arms have one evaluated loss, which "
            "every run of both passed. For claim 13 the difference is the logarithm of the ratio "
            "of standard deviations (Pitman and Morgan), and ``mean_a`` and ``mean_b`` are these "
            "deviations.",
        ),
    },
)
def dynamics_claims(
    layer_dynamics: pd.DataFrame,
    stretching: pd.DataFrame,
    stretching_slopes: pd.DataFrame,
    metrics: pd.DataFrame,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    contrasts: pd.DataFrame,
    pairs: Sequence[dict],
    study: dict,
) -> pd.DataFrame:
    given = (layer_dynamics, stretching, stretching_slopes, metrics, runs, summaries, contrasts)
    rows = [row for pair in pairs_of_optimizers(pairs) for row in claim_rows(*given, pair, study)]
    return pd.DataFrame(rows, columns=list(COLUMNS))
