"""What was measured on the runs, as means over seeds: spectra, curvature, quantization."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.report.records import listed
from muonlab.statistics.intervals import intervals_by

HIDDEN = "hidden mean"
# Components whose matrices count as hidden layers: not embeddings, output heads or routers.
HIDDEN_COMPONENTS = {"hidden", "query", "key", "value", "attention_output", "up", "gate", "down"}
HIDDEN_COMPONENTS |= {"query_key_value"}
HIDDEN_COMPONENTS |= {"expert_up", "expert_gate", "expert_down"}
FULL = "full"  # the quantization scheme of rows about weights as they were trained


def over_seeds(records: pd.DataFrame, keys: Sequence[str], study: dict) -> pd.DataFrame:
    """Mean, sd and t interval over the runs of each arm, for each combination of `keys`.

    A value that is not finite makes the mean not estimable and is counted in `not_finite`.
    """
    columns = ["arm", *keys]
    groups = records.groupby(columns, sort=False, dropna=False).ngroup().to_numpy()
    found = intervals_by(records.value, groups, study["alpha"])
    first = np.unique(groups, return_index=True)[1]
    table = records[columns].iloc[first].reset_index(drop=True)
    edges = {arm["name"]: listed(arm["edges"]) for arm in study["arms"]}
    return table.assign(
        n=found["n"],
        not_finite=found["diverged"],
        mean=found["mean"],
        sd=found["sd"],
        low=found["low"],
        high=found["high"],
        edge=table.arm.map(edges),
        data=study["data"],
        protocol=study["protocol"],
    )


def with_hidden_mean(spectra: pd.DataFrame) -> pd.DataFrame:
    """The scalar metrics, and for each run and point their mean over the hidden layers' matrices as
    one more `tensor`.

    Each stacked expert counts as one matrix in that mean; in all other rows the experts of a stack
    are one tensor, with their mean. Metrics that no matrix has are left out (such as the power-law
    exponent, where all spectra are too short).
    """
    scalars = _scalars(spectra)
    return pd.concat([over_experts(scalars), _hidden_mean(scalars)], ignore_index=True)


def hidden_mean(spectra: pd.DataFrame) -> pd.DataFrame:
    """The rows of `with_hidden_mean` whose tensor is the hidden layers' mean, alone."""
    return _hidden_mean(_scalars(spectra))


def _scalars(spectra: pd.DataFrame) -> pd.DataFrame:
    """The scalar metrics that at least one matrix has."""
    scalars = spectra[spectra.metric != "singular_values"].drop(columns="index")
    return scalars[scalars.groupby("metric").value.transform(lambda v: v.notna().any())]


def _hidden_mean(scalars: pd.DataFrame) -> pd.DataFrame:
    hidden = scalars[scalars.component.isin(HIDDEN_COMPONENTS)]
    keys = ["arm", "seed", "point", "step", "loss", "object", "metric"]
    means = hidden.groupby(keys, sort=False, dropna=False).value
    means = means.mean(skipna=False).reset_index()
    return means.assign(tensor=HIDDEN, component="hidden")


def over_experts(records: pd.DataFrame) -> pd.DataFrame:
    """The records with the values of stacked experts replaced by their mean, one for each run.
    Experts of one run are not independent of each other and must not count as more seeds."""
    stacked = records.expert.notna()
    single = records[~stacked].drop(columns="expert")
    if not stacked.any():
        return single
    keys = [column for column in single if column != "value"]
    means = records[stacked].groupby(keys, sort=False, dropna=False).value
    means = means.mean(skipna=False).reset_index()
    return pd.concat([single, means[single.columns]], ignore_index=True)


def with_degradation(quantized: pd.DataFrame) -> pd.DataFrame:
    """The records, and in addition for each quantized model `accuracy_drop` and `loss_rise`, the
    change from the same weights in full precision (positive is worse)."""
    keys = ["arm", "seed", "point", "step", "metric"]
    whole = quantized[quantized.tensor == "all"]
    full = whole[whole.scheme == FULL].set_index(keys).value.rename("full")
    rounded = whole[whole.scheme != FULL].join(full, on=keys)
    drops = []
    for metric, name, sign in (("accuracy", "accuracy_drop", -1), ("loss", "loss_rise", 1)):
        own = rounded[rounded.metric == metric]
        drops.append(own.assign(metric=name, value=sign * (own.value - own.full)))
    return pd.concat([quantized, *(d.drop(columns="full") for d in drops)], ignore_index=True)
