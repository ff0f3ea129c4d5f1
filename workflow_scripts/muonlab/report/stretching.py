"""Hierarchical stretching: slopes of ln σ₁ over depth and training, by run and arm."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.report.layers import RUN, components_of
from muonlab.report.measured import HIDDEN_COMPONENTS
from muonlab.statistics.depth import depth_fit
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.paired import paired
from muonlab.statistics.verdicts import verdict

ALL = "mean of all"  # the component of rows about the mean over all components of a run
QUANTITIES = {
    "spectral_norm": "ln σ₁",
    "norm_excess": "ln σ₁ − ln σ₁ of a random walk",
}
# Columns of the contrasts, which a table without a pair of arms has, too.
CONTRASTS = (
    *("arm_a", "arm_b", "component", "quantity", "coefficient", "n", "mean_a", "mean_b"),
    *("difference", "low", "high", "verdict", "said", "family_size"),
)
COEFFICIENTS = {
    "growth": "change over training, at half depth",
    "stretching": "change over training of the slope over depth",
}


def run_slopes(table: pd.DataFrame, diverged: frozenset) -> pd.DataFrame:
    """arm, seed, component, quantity, coefficient, value: the fit of each run and component, and
    the mean over its components. `table` is layer_dynamics.csv; a run that diverged has NaN."""
    table = table[table.component.isin(HIDDEN_COMPONENTS)]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = {"spectral_norm": np.log(table.spectral_norm), "norm_excess": table.norm_excess}
    rows = []
    for key, own in table.groupby([*RUN, "component"], sort=False):
        for quantity, values in logs.items():
            fit = depth_fit(own.layer, own.tokens, values.loc[own.index])
            for coefficient in COEFFICIENTS:
                value = np.nan if key[:2] in diverged else getattr(fit, coefficient)
                rows.append((*key, quantity, coefficient, value))
    slopes = pd.DataFrame(rows, columns=[*RUN, "component", "quantity", "coefficient", "value"])
    keys = [*RUN, "quantity", "coefficient"]
    means = slopes.groupby(keys, sort=False).value.mean(skipna=False)
    return pd.concat([slopes, means.reset_index().assign(component=ALL)], ignore_index=True)


def slope_table(slopes: pd.DataFrame, study: Mapping) -> pd.DataFrame:
    """Mean slope of each arm with its simultaneous interval and whether it differs from 0."""
    rows = []
    for arm in study["arms"]:
        for family in _families(slopes[slopes.arm == arm["name"]]):
            for component, own in family:
                level = study["alpha"] / len(family)
                found = mean_interval(own.value.to_numpy(), level)
                said = verdict(found.mean, found.low, found.high, found.n, found.sd, alpha=level)
                rows.append(
                    {"arm": arm["name"], "label": arm["label"]}
                    | _named(own, component)
                    | {"n": found.n, "slope": found.mean, "low": found.low, "high": found.high}
                    | {"verdict": said.word, "needs_n": said.needs_n, "reason": said.reason}
                    | {"family_size": len(family)}
                )
    return pd.DataFrame(rows)


def slope_contrasts(
    slopes: pd.DataFrame, pairs: Sequence[tuple[str, str]], study: Mapping
) -> pd.DataFrame:
    """The difference a − b of the slopes of two arms over paired seeds, for each pair."""
    rows = []
    for a, b in pairs:
        both = slopes[slopes.arm.isin([a, b])]
        for family in _families(both):
            for component, own in family:
                wide = own.pivot(index="seed", columns="arm", values="value")
                if not {a, b} <= set(wide):
                    continue
                size = len(family)
                found = paired(wide[a], wide[b], study["alpha"], size)
                rows.append(
                    {"arm_a": a, "arm_b": b}
                    | _named(own, component)
                    | {"n": found.n, "mean_a": wide[a].mean(skipna=False)}
                    | {"mean_b": wide[b].mean(skipna=False), "difference": found.difference}
                    | {"low": found.low, "high": found.high, "verdict": found.verdict}
                    | {"said": found.said, "family_size": size}
                )
    return pd.DataFrame(rows, columns=list(CONTRASTS))


def pairs_of_optimizers(pairs: Sequence[Mapping]) -> list[tuple[str, str]]:
    """The pairs of the plan that differ in the optimizer alone."""
    return [(pair["a"], pair["b"]) for pair in pairs if list(pair["variables"]) == ["optimizer"]]


def _families(slopes: pd.DataFrame) -> Iterator[list[tuple[str, pd.DataFrame]]]:
    """The rows of each quantity and coefficient by component; these are one family."""
    for _, own in slopes.groupby(["quantity", "coefficient"], sort=False):
        names = [*components_of(own[own.component != ALL]), ALL]
        yield [(name, own[own.component == name]) for name in names]


def _named(own: pd.DataFrame, component: str) -> dict:
    first = own.iloc[0]
    return {
        "component": component,
        "quantity": first.quantity,
        "coefficient": first.coefficient,
    }
