"""The geometry of a transformer's matrices by layer: records of runs as one row a matrix and step.

`condensed` thins and widens the long records of `observers.geometry`; all tables and figures about
depth read its result (layer_dynamics.csv).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from muonlab.measure.nulls import alignment_nulls, squared_path, walk_growth
from muonlab.report.measured import HIDDEN_COMPONENTS

MOST_STEPS = 60  # records of a run that are kept: more than a figure can show
RUN = ["arm", "seed"]
MATRIX = ["tensor", "component", "layer", "expert", "rows", "columns"]
# The metrics that are kept of each object, and the columns that they become.
KEPT = {
    "weight": {
        name: name
        for name in (
            *("spectral_norm", "spectral_gap", "frobenius_norm", "stable_rank"),
            *("spectral_entropy", "effective_rank", "orthogonality_error"),
        )
    },
    "step": {
        "frobenius_norm": "step_norm",
        "relative_update": "step_relative",
        "stable_rank": "step_stable_rank",
        "effective_rank": "step_effective_rank",
        "orthogonality_error": "step_orthogonality_error",
    },
    "momentum": {"effective_rank": "momentum_effective_rank"},
    "displacement": {
        "frobenius_norm": "displacement_norm",
        "effective_rank": "displacement_effective_rank",
    },
    "from_start": {
        "frobenius_norm": "distance",
        "effective_rank": "distance_effective_rank",
    },
}
# The components of networks, in the order in which a forward pass comes to them.
ORDER = (
    *("input", "embedding", "query", "key", "value", "query_key_value", "attention_output"),
    *("router", "gate", "expert_gate", "up", "expert_up", "down", "expert_down"),
    *("hidden", "output", "head"),
)
ALIGNED = ("step", "momentum", "displacement", "from_start")
SIDES = ("left", "right")


def thinned_steps(steps: Iterable[int]) -> list[int]:
    """At most `MOST_STEPS` of the recorded steps, evenly spaced, with the first and the last."""
    known = sorted(set(steps))
    places = np.linspace(0, len(known) - 1, min(len(known), MOST_STEPS))
    return [known[i] for i in dict.fromkeys(places.round().astype(int))]


def thinned(records: pd.DataFrame) -> pd.DataFrame:
    """The records of one run at `thinned_steps`, without whole spectra."""
    own = records[records.metric != "singular_values"]
    return own[own.step.isin(thinned_steps(own.step.unique()))]


def of_layers(records: pd.DataFrame) -> pd.DataFrame:
    """The records of one run about matrices in layers, at `thinned_steps`."""
    own = records[records.layer.notna()]
    return own[own.step.isin(thinned_steps(own.step.unique()))]


def condensed(records: pd.DataFrame) -> pd.DataFrame:
    """One row for each matrix (stacked experts: their mean), run and step.

    `records`: arm, seed, step, tokens, `MATRIX`, object, metric, index, value. Columns besides run,
    step, tokens and matrix are those of `KEPT`, for each object but the weight `<object>_alignment`
    (mean of left and right), `<object>_null` and `<object>_excess` (alignment − null), and the
    nulls and excesses of `_with_nulls`. What an object lacks at a step is NaN.
    """
    wide = _wide(records)
    wide = _with_alignments(wide)
    parts = [_with_nulls(own) for _, own in wide.groupby([*RUN, "tensor", "expert"], dropna=False)]
    return over_experts(pd.concat(parts, ignore_index=True))


def _wide(records: pd.DataFrame) -> pd.DataFrame:
    wanted = {(kind, metric): name for kind, own in KEPT.items() for metric, name in own.items()}
    for kind in ALIGNED:
        wanted |= {(kind, f"subspace_alignment_{s}"): f"{kind}_{s}" for s in SIDES}
    pairs = pd.Series(zip(records.object, records.metric, strict=True), index=records.index)
    column = pairs.map(wanted)
    own = records[column.notna()].assign(column=column)
    keys = [*RUN, "step", "tokens", *MATRIX]
    own = own.assign(expert=own.expert.fillna(-1))
    wide = own.pivot(index=keys, columns="column", values="value").reset_index()
    wide.columns.name = None
    for name in wanted.values():
        if name not in wide:
            wide[name] = np.nan
    return wide.assign(expert=wide.expert.where(wide.expert >= 0))


def _with_alignments(wide: pd.DataFrame) -> pd.DataFrame:
    """Replaces the left and right alignments of each object by mean, null and excess."""
    shapes = zip(wide["rows"].astype(int), wide["columns"].astype(int), strict=True)
    null = np.array([np.mean(alignment_nulls(*shape)) for shape in shapes])
    for kind in ALIGNED:
        sides = [f"{kind}_{side}" for side in SIDES]
        wide[f"{kind}_alignment"] = wide[sides].mean(axis=1, skipna=False)
        wide[f"{kind}_null"] = null
        wide[f"{kind}_excess"] = wide[f"{kind}_alignment"] - null
    return wide.drop(columns=[f"{kind}_{side}" for kind in ALIGNED for side in SIDES])


def _with_nulls(own: pd.DataFrame) -> pd.DataFrame:
    """The rows of one matrix of one run with what they are compared with.

    walk_norm        σ₁ that a random walk with the same norms of updates would have
    norm_excess      ln(σ₁ / walk_norm)
    distance_null    σ₁ that a random displacement as long as W_t − W_0 would have given
    entropy_gain     spectral entropy minus that at the start
    """
    own = own.sort_values("step")
    start, known = own.iloc[0], own.step_norm.notna()
    if known.any():
        squares = squared_path(own.step[known], own.step_norm[known], own.step)
    else:
        squares = np.full(len(own), np.nan)
    walk = start.spectral_norm * walk_growth(start.frobenius_norm, squares)
    away = walk_growth(start.frobenius_norm, own.distance.fillna(0.0) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.log(own.spectral_norm / walk)
    return own.assign(
        walk_norm=walk,
        norm_excess=excess,
        distance_null=start.spectral_norm * away,
        entropy_gain=own.spectral_entropy - start.spectral_entropy,
    )


def over_experts(wide: pd.DataFrame) -> pd.DataFrame:
    """The rows with those of one stack's experts replaced by their mean."""
    keys = [*RUN, "step", "tokens", *(name for name in MATRIX if name != "expert")]
    values = [name for name in wide if name not in (*keys, "expert")]
    stacked = wide.expert.notna()
    single = wide[~stacked].drop(columns="expert")
    if not stacked.any():
        return single.sort_values(keys).reset_index(drop=True)
    means = wide[stacked].groupby(keys, sort=False)[values]
    means = means.mean(skipna=False).reset_index()
    both = pd.concat([single, means[single.columns]], ignore_index=True)
    return both.sort_values(keys).reset_index(drop=True)


def components_of(table: pd.DataFrame) -> list[str]:
    """The components of a table, in the order in which a network has them."""
    known = set(table.component)
    return [*(name for name in ORDER if name in known), *sorted(known - set(ORDER))]


def hidden_mean(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """arm, seed, step, value: the mean of a column over all hidden matrices of a run at a step."""
    own = table[table.component.isin(HIDDEN_COMPONENTS)]
    means = own.groupby([*RUN, "step"], sort=False)[column]
    return means.mean(skipna=False).rename("value").reset_index()


def mean_over_layers(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """arm, seed, component, step, tokens, value: the mean of a column over layers."""
    means = table.groupby([*RUN, "component", "step", "tokens"], sort=False)[column]
    return means.mean(skipna=False).rename("value").reset_index()
