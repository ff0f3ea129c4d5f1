"""Spectral metrics of every weight matrix, as means over seeds."""

import pandas as pd

from muonlab.declare import table
from muonlab.report.measured import over_seeds, with_hidden_mean


@table(
    section="tables",
    outputs={
        "spectra": (
            "spectra",
            "Spectral metrics of every weight matrix (object ``weight``) and of its change since "
            "the start (``from_start``), at the start, at the matched loss and at the end: mean, "
            "standard deviation and {interval} t interval over the seeds of each arm of "
            "**{title}** on *{data}* (protocol: {protocol}). ``hidden mean`` is each run's mean "
            "over its hidden layers. At the matched loss, n counts the runs that reached it and "
            "``not_reached`` the others. A value that is not finite (the condition number of a "
            "singular matrix) leaves the mean empty. The power-law exponent needs 50 singular "
            "values and is left out for smaller matrices. Whole spectra are in the study's folder "
            "``spectra``.",
        ),
    },
)
def spectra(spectra_records: pd.DataFrame, study: dict) -> pd.DataFrame:
    keys = ["point", "object", "tensor", "component", "metric"]
    return over_seeds(with_hidden_mean(spectra_records), keys, study)
