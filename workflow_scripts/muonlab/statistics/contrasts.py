"""Contrasts between two arms: a table of runs in, one tidy row per comparison and outcome out."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from muonlab.statistics import hypothesis_tests as tests
from muonlab.statistics.effect_sizes import NOT_ESTIMABLE, cohens_d_z, hedges_g
from muonlab.statistics.families import Families
from muonlab.statistics.group_tests import brown_forsythe
from muonlab.statistics.intervals import check_level, mean_interval
from muonlab.statistics.run_table import check_known, checked_runs, pair_by_seed, runs_by_arm
from muonlab.statistics.verdicts import MIN_SEEDS, NO_VERDICT, POWER, seeds_needed, verdict

if TYPE_CHECKING:
    import pandas as pd

# fmt: off
_COLUMNS = [
    "outcome", "family", "family_size", "arm_a", "arm_b", "paired", "n", "n_a", "n_b",
    "mean_a", "mean_b", "sd_a", "sd_b", "sd_difference",
    "difference", "low", "high", "verdict", "needs_n", "reason",
    "t", "df", "p", "p_adjusted", "p_welch", "p_wilcoxon", "sesoi", "sesoi_n", "p_tost",
    "d_z", "d_z_low", "d_z_high", "hedges_g", "hedges_g_low", "hedges_g_high", "mdd_80",
    "p_brown_forsythe", "diverged_a", "diverged_b", "compound",
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
    better: Mapping[str, str] | None = None,
    families: Families | None = None,
) -> "pd.DataFrame":
    """Every comparison arm_a − arm_b of `pairs`, on every outcome: one row each.

    `table` is as in `run_table`. `paired` matches runs by seed, and difference, low, high, t, df
    and p are the paired t test's. With `paired=False` they are Welch's, p_tost is the TOST on
    Welch's test, and n, p_wilcoxon, d_z and mdd_80 are not estimable. `better` gives the better
    side of each outcome, "lower" or "higher"; an outcome without one has verdicts without a
    judgement. `families` gives each comparison its family; by default all pairs of one outcome are
    one exploratory family.

    [low, high] is the simultaneous interval, of level 1 − α/m in a family of m comparisons, and
    verdict, needs_n and reason are read off it alone (see `verdicts`). p is the test's own value
    and p_adjusted = min(1, m·p), which is below α exactly where the interval excludes 0. The other
    intervals and mdd_80, the true difference that is seen with a power of 80 %, are at α/m, too.

    Columns beside those: family and family_size (m), n (pairs), n_a, n_b (runs, diverged ones
    included), mean_a, mean_b, sd_a, sd_b, sd_difference (of the paired difference; without pairs
    √(sd_a² + sd_b²)), p_welch, p_wilcoxon, sesoi (the smallest difference of interest), sesoi_n
    (the number of seeds that sees it with a power of 80 %), p_tost (of one comparison), d_z and
    hedges_g each with _low and _high, p_brown_forsythe, diverged_a, diverged_b, and compound
    (either arm is in `compound`, so more than one variable differs).

    ValueError: what `run_table.checked_runs` raises, an unknown arm, a repeated pair, seeds that
    do not match under `paired`, a sesoi that is not positive or of an unknown outcome.
    """
    import pandas as pd

    check_level(alpha)
    sesoi, better = dict(sesoi or {}), dict(better or {})
    runs = checked_runs(table, outcomes)
    check_known("outcome in sesoi", sesoi, set(table["outcome"]))
    _check_pairs(pairs, set(table["arm"]))
    if families is None:
        families = Families([], [(outcome, *pair) for outcome in outcomes for pair in pairs])
    rows = []
    for outcome in outcomes:
        by_arm = runs_by_arm(runs, outcome)
        for pair in pairs:
            family = families.of(outcome, *pair)
            level = family.level(alpha)
            row = _contrast(by_arm, pair, level, sesoi.get(outcome), paired)
            row |= _judged(row, level, better.get(outcome, ""))
            row |= {"outcome": outcome, "family": family.name, "family_size": family.size}
            row["p_adjusted"] = min(1.0, family.size * row["p"]) if row["p"] >= 0 else np.nan
            row["compound"] = row["arm_a"] in compound or row["arm_b"] in compound
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"n": "Int64"})


def _judged(row: dict, level: float, better: str) -> dict:
    """The verdict on a comparison, and the numbers of seeds that would decide it and that the
    smallest difference of interest needs."""
    found = verdict(
        row["difference"], row["low"], row["high"], min(row["n_a"], row["n_b"]),
        row["sd_difference"], alpha=level, smallest=row["sesoi"], better=better,
        reason=_reason(row) if np.isnan(row["low"]) else "",
    )  # fmt: skip
    needed = seeds_needed(row["sesoi"], row["sd_difference"], level)
    reason = found.reason
    if found.word == NO_VERDICT:
        reason = f"Fewer than {MIN_SEEDS} seeds give no verdict."
    return {"verdict": found.word, "needs_n": found.needs_n, "sesoi_n": needed, "reason": reason}


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
    sd = primary.se * np.sqrt(len(a)) if paired else np.hypot(row["sd_a"], row["sd_b"])
    row["sd_difference"] = sd
    row["mdd_80"] = (
        tests.minimum_detectable_difference(sd, len(a), alpha, power=POWER) if paired else np.nan
    )
    return row


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
