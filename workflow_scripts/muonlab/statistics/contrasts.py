"""Contrasts between two arms: a table of runs in, one tidy row per comparison and outcome out."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from muonlab.statistics import hypothesis_tests as tests
from muonlab.statistics.effect_sizes import NOT_ESTIMABLE, cohens_d_z, hedges_g
from muonlab.statistics.group_tests import brown_forsythe
from muonlab.statistics.intervals import check_level, mean_interval
from muonlab.statistics.run_table import check_known, checked_runs, pair_by_seed, runs_by_arm

if TYPE_CHECKING:
    import pandas as pd

# fmt: off
_COLUMNS = [
    "outcome", "arm_a", "arm_b", "paired", "n", "n_a", "n_b", "mean_a", "mean_b", "sd_a", "sd_b",
    "difference", "low", "high", "t", "df", "p", "p_holm", "p_welch", "p_wilcoxon",
    "sesoi", "p_tost", "p_tost_holm", "equivalent", "d_z", "d_z_low", "d_z_high",
    "hedges_g", "hedges_g_low", "hedges_g_high", "mdd_80", "p_brown_forsythe",
    "diverged_a", "diverged_b", "compound", "verdict", "reason",
]
# fmt: on


def contrasts(
    table: "pd.DataFrame",
    pairs: Sequence[tuple[str, str]],
    outcomes: Sequence[str],
    alpha: float = 0.05,
    sesoi: Mapping[str, float] | None = None,
    compound: Collection[str] = frozenset(),
    paired: bool = True,
) -> "pd.DataFrame":
    """Every comparison arm_a − arm_b of `pairs`, on every outcome: one row each.

    `table` is as in `run_table`. `paired` matches runs by seed, and difference, low, high, t, df
    and p are the paired t test's. With `paired=False` they are Welch's, p_tost is the TOST on
    Welch's test, and n, p_wilcoxon, d_z and mdd_80 are not estimable.

    Columns beside those: n (pairs), n_a, n_b (runs, diverged ones included), mean_a, mean_b,
    sd_a, sd_b, p_holm, p_welch, p_wilcoxon, p_tost, p_tost_holm, sesoi, equivalent (True, False,
    None without a sesoi or an estimate), d_z and hedges_g each with _low and _high, mdd_80 (at
    α and 80 % power, before Holm), p_brown_forsythe, diverged_a, diverged_b, compound (either
    arm is in `compound`, so more than one variable differs), verdict, and `reason`: why the
    verdict is "not estimable", else "".

    Intervals have level 1 − α each. Holm's family is one outcome × all `pairs`, once for p and
    once for p_tost. The verdict is by `verdict` on p_holm and p_tost_holm.

    ValueError: what `run_table.checked_runs` raises, an unknown arm, a repeated pair, seeds that
    do not match under `paired`, a sesoi that is not positive or of an unknown outcome.
    """
    import pandas as pd

    check_level(alpha)
    sesoi = dict(sesoi or {})
    runs = checked_runs(table, outcomes)
    check_known("outcome in sesoi", sesoi, set(table["outcome"]))
    _check_pairs(pairs, set(table["arm"]))
    rows = []
    for outcome in outcomes:
        by_arm = runs_by_arm(runs, outcome)
        family = [_contrast(by_arm, pair, alpha, sesoi.get(outcome), paired) for pair in pairs]
        for row in _with_verdicts(family, alpha):
            row["compound"] = row["arm_a"] in compound or row["arm_b"] in compound
            rows.append({"outcome": outcome, **row})
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64", "equivalent": object})


def verdict(difference: float, p: float, p_equivalence: float, alpha: float = 0.05) -> str:
    """The verdict on a contrast a − b, from p values that are already corrected for the family.

    In this order: "not estimable" (p is NaN), "equivalent" (p_equivalence < α), "a lower" or
    "a higher" (p < α), "undecided". A difference shown to be smaller than the smallest difference
    of interest is called equivalent however small its p: it may exist, but it does not matter
    (Lakens 2017, Soc. Psychol. Personal. Sci. 8(4), fig. 1).
    """
    if np.isnan(p):
        return "not estimable"
    if p_equivalence < alpha:
        return "equivalent"
    if p < alpha:
        return "a lower" if difference < 0 else "a higher"
    return "undecided"


def _contrast(
    by_arm: Mapping[str, "pd.Series"],
    pair: tuple[str, str],
    alpha: float,
    sesoi: float | None,
    paired: bool,
) -> dict:
    arm_a, arm_b = pair
    if paired:
        a, b = pair_by_seed(by_arm, arm_a, arm_b)
    else:
        a, b = (by_arm[arm].to_numpy() if arm in by_arm else np.empty(0) for arm in pair)
    welch = tests.welch_t(a, b, alpha)
    primary = tests.paired_t(a, b, alpha) if paired else welch
    row = {"arm_a": arm_a, "arm_b": arm_b, "paired": paired, "n": len(a) if paired else None}
    row |= _arm_columns("a", a, alpha) | _arm_columns("b", b, alpha) | vars(primary)
    row |= {"p_welch": welch.p, "p_brown_forsythe": brown_forsythe(a, b).p}
    row["sesoi"] = np.nan if sesoi is None else sesoi
    row["p_tost"] = np.nan if sesoi is None else tests.tost(primary, sesoi)
    row["p_wilcoxon"] = tests.wilcoxon_signed_rank(a, b).p if paired else np.nan
    row |= _effect_columns("d_z", cohens_d_z(a, b, alpha) if paired else NOT_ESTIMABLE)
    row |= _effect_columns("hedges_g", hedges_g(a, b, alpha))
    sd_difference = primary.se * np.sqrt(len(a)) if paired else np.nan
    row["mdd_80"] = tests.minimum_detectable_difference(sd_difference, len(a), alpha, power=0.8)
    row["reason"] = _reason(row) if np.isnan(primary.p) else ""
    return row


def _with_verdicts(family: list[dict], alpha: float) -> list[dict]:
    """The rows of one family with p_holm, p_tost_holm, equivalent and verdict."""
    p_holm = tests.holm([row["p"] for row in family])
    p_tost_holm = tests.holm([row["p_tost"] for row in family])
    for row, p, p_tost in zip(family, p_holm, p_tost_holm, strict=True):
        row |= {"p_holm": float(p), "p_tost_holm": float(p_tost)}
        row["equivalent"] = None if np.isnan(p_tost) else bool(p_tost < alpha)
        row["verdict"] = verdict(row["difference"], p, p_tost, alpha)
    return family


def _arm_columns(side: str, values: np.ndarray, alpha: float) -> dict:
    mean = mean_interval(values, alpha)
    columns = {"n": mean.n, "mean": mean.mean, "sd": mean.sd, "diverged": mean.diverged}
    return {f"{name}_{side}": value for name, value in columns.items()}


def _effect_columns(name: str, effect) -> dict:
    return {name: effect.value, f"{name}_low": effect.low, f"{name}_high": effect.high}


def _reason(row: dict) -> str:
    """Why the primary test of a row has no p value, as a sentence."""
    diverged = [
        f"{row[f'diverged_{side}']} of {row[f'n_{side}']} runs of {row[f'arm_{side}']}"
        for side in "ab"
        if row[f"diverged_{side}"]
    ]
    if diverged:
        return f"{' and '.join(diverged)} diverged."
    if min(row["n_a"], row["n_b"]) < 2:
        return f"n is {row['n_a']} and {row['n_b']}; a test needs two runs of each arm."
    if not row["paired"]:
        return "All runs of each arm have the same value."
    if row["difference"] == 0:
        return "The arms have the same value on every seed."
    return "The difference between the arms is the same on every seed."


def _check_pairs(pairs: Sequence[tuple[str, str]], arms: Collection[str]) -> None:
    seen = set()
    for arm_a, arm_b in pairs:
        check_known("arm", (arm_a, arm_b), arms)
        if arm_a == arm_b:
            raise ValueError(f"pairs compares arm {arm_a!r} with itself.")
        if frozenset((arm_a, arm_b)) in seen:
            raise ValueError(f"pairs has {arm_a!r} and {arm_b!r} twice; name each pair once.")
        seen.add(frozenset((arm_a, arm_b)))
