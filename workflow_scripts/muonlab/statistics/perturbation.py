"""How the loss changes with one setting: rates around the best one, and other settings by ±20 %.

Both read a table of runs (`run_table`) in which every changed setting is an arm of its own, run on
the seeds of the unchanged one, so that every change is a paired difference.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from muonlab.statistics.basin import TOLERANCE, basin
from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.statistics.intervals import check_level, count_diverged, mean_interval
from muonlab.statistics.run_table import check_known, checked_runs, matrix_by_seed, runs_by_arm
from muonlab.statistics.verdicts import verdict

if TYPE_CHECKING:
    import pandas as pd


def sensitivity_curve(
    table: "pd.DataFrame", factors: Mapping[str, float], outcome: str, alpha: float = 0.05
) -> "pd.DataFrame":
    """Loss over the factors of the best learning rate: one row per arm, in rising factors.

    `factors` gives each arm its factor; one arm has the factor 1 and is the reference. Columns:
    arm, factor, n, mean with mean_low and mean_high (of the loss itself), change with change_low
    and change_high (of loss / the reference's on the same seed − 1), diverged. Bands are
    t intervals over seeds. The reference's change is 0 by construction, without a band.

    ValueError: what `checked_runs` and `matrix_by_seed` raise, factors that are not positive
    and different, and no factor 1.
    """
    import pandas as pd

    arms, losses = _losses(table, factors, outcome)
    reference = losses[:, [factors[arm] for arm in arms].index(1)]
    rows = []
    for arm, values in zip(arms, losses.T, strict=True):
        mean = mean_interval(values, alpha)
        change = mean_interval(_relative(values, reference), alpha)
        row = {"arm": arm, "factor": factors[arm], "n": mean.n, "mean": mean.mean}
        row |= {"mean_low": mean.low, "mean_high": mean.high}
        row |= {"change": change.mean, "change_low": change.low, "change_high": change.high}
        rows.append(row | {"diverged": mean.diverged})
    return pd.DataFrame(rows)


def basin_table(
    table: "pd.DataFrame",
    factors: Mapping[str, Mapping[str, float]],
    outcome: str,
    tolerance: float = TOLERANCE,
    alpha: float = 0.05,
) -> "pd.DataFrame":
    """One row per curve of `factors` (its name → {arm: factor}): curve and the fields of `Basin`,
    and at_least, whether the factors tried cut the basin off."""
    import pandas as pd

    rows = []
    for curve, of in factors.items():
        arms, losses = _losses(table, of, outcome)
        found = basin([of[arm] for arm in arms], losses, tolerance, alpha)
        rows.append({"curve": curve, **vars(found), "at_least": found.at_least})
    return pd.DataFrame(rows)


def perturbation_table(
    table: "pd.DataFrame",
    base: str,
    changed: Mapping[str, tuple[str, float]],
    outcome: str,
    alpha: float = 0.05,
    smallest: float | None = None,
) -> "pd.DataFrame":
    """The cost of changed settings: one row per arm of `changed`, which gives (field, factor).

    Columns: field, factor, arm, n, change (loss of the arm − loss of `base` on the same seed) with
    low and high, verdict and needs_n, relative (mean of change / loss of base), p (paired t),
    p_adjusted, diverged (runs of the changed arm), base_diverged. All rows are one family: low and
    high have level 1 − α/m with m rows, p_adjusted is min(1, m·p), and the verdict on the changed
    arm is read off the interval, a lower outcome being better and one that changes by less than
    `smallest` equivalent. ValueError: what `checked_runs` and
    `matrix_by_seed` raise, and a change that is named twice.
    """
    import pandas as pd

    check_level(alpha)
    _check_different(changed)
    runs = checked_runs(table, [outcome])
    by_arm = runs_by_arm(runs, outcome)
    check_known("arm", [base, *changed], by_arm)
    losses = dict(zip([base, *changed], matrix_by_seed(by_arm, [base, *changed]).T, strict=True))
    rows = []
    level = alpha / max(1, len(changed))
    for arm, (field, factor) in changed.items():
        test = paired_t(losses[arm], losses[base], level)
        row = {"field": field, "factor": factor, "arm": arm, "n": len(losses[arm])}
        row |= {"change": test.difference, "low": test.low, "high": test.high}
        row["relative"] = mean_interval(_relative(losses[arm], losses[base]), alpha).mean
        found = verdict(
            test.difference,
            test.low,
            test.high,
            row["n"],
            alpha=level,
            smallest=smallest,
            better="lower",
        )
        row |= {"verdict": found.word, "needs_n": found.needs_n, "p": test.p}
        row |= {"p_adjusted": np.minimum(1.0, len(changed) * test.p)}
        row["diverged"] = count_diverged(losses[arm])
        rows.append(row | {"base_diverged": count_diverged(losses[base])})
    return pd.DataFrame(rows)


def _losses(
    table: "pd.DataFrame", factors: Mapping[str, float], outcome: str
) -> tuple[list[str], np.ndarray]:
    """The arms in rising factors, and their outcome, shape (n seeds, m arms)."""
    values = list(factors.values())
    if len(set(values)) < len(values) or not all(f > 0 and np.isfinite(f) for f in values):
        raise ValueError(f"factors must be positive and different, not {values}.")
    if 1 not in values:
        raise ValueError(f"factors need one arm of factor 1, the reference, beside {values}.")
    arms = sorted(factors, key=factors.__getitem__)
    by_arm = runs_by_arm(checked_runs(table, [outcome]), outcome)
    check_known("arm", arms, by_arm)
    return arms, matrix_by_seed(by_arm, arms)


def _relative(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """values / reference − 1; NaN where either is not finite, or the reference is not positive."""
    usable = np.isfinite(values) & np.isfinite(reference) & (reference > 0)
    return np.divide(values - reference, reference, out=np.full(len(values), np.nan), where=usable)


def _check_different(changed: Mapping[str, tuple[str, float]]) -> None:
    for what in changed.values():
        if list(changed.values()).count(what) > 1:
            raise ValueError(f"changed has {what[0]} × {what[1]} for more than one arm.")
