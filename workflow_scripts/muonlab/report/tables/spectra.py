"""Spectral metrics of every weight matrix, as means over seeds."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.levels import diverged_runs, with_levels
from muonlab.report.measured import over_seeds, with_hidden_mean


@table(
    section="tables",
    outputs={
        "spectra": (
            "spectra",
            "Spectral metrics of every weight matrix (object ``weight``) and of its change since "
            "the start (``from_start``), at the start, at equal loss and at the end: mean, "
            "standard deviation and {interval} t interval over the seeds of each arm of "
            "**{title}** on *{data}* (protocol: {protocol}). ``hidden mean`` is each run's mean "
            "over its hidden layers. At *loss 1* to *loss {levels}* all arms have the loss "
            "``level``, which every run passed; values are interpolated between the two snapshots "
            "beside it. A value that is not finite (the condition number of a "
            "singular matrix) leaves the mean empty. The power-law exponent needs 50 singular "
            "values and is left out for smaller matrices. Whole spectra are in the study's folder "
            "``spectra``.",
        ),
    },
)
def spectra(
    spectra_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> pd.DataFrame:
    keys = ["object", "tensor", "component", "metric"]
    records = with_hidden_mean(spectra_records)
    records = with_levels(records, keys, diverged_runs(runs, summaries), study["levels"])
    return over_seeds(records, ["point", "level", *keys], study)
