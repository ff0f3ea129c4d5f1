"""All arms of a study at once: means with intervals, analysis of variance, Tukey's comparisons.

Every function reads a table of runs (`run_table`) and returns a tidy table. Seeds are not used as
blocks here; the paired comparison is `contrasts`.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from muonlab.statistics import group_tests
from muonlab.statistics.intervals import check_level, count_diverged, mean_interval
from muonlab.statistics.run_table import checked_runs, runs_by_arm

if TYPE_CHECKING:
    import pandas as pd

MIN_ARMS = 3


def arm_means(
    table: "pd.DataFrame", outcomes: Sequence[str], alpha: float = 0.05
) -> "pd.DataFrame":
    """Per outcome and arm: n, mean, sd, low, high, diverged, estimable (see `mean_interval`)."""
    import pandas as pd

    runs = checked_runs(table, outcomes)
    rows = []
    for outcome in outcomes:
        for arm, values in runs_by_arm(runs, outcome).items():
            mean = mean_interval(values.to_numpy(), alpha)
            row = {"outcome": outcome, "arm": arm, **vars(mean), "estimable": mean.estimable}
            rows.append(row)
    return pd.DataFrame(rows)


def anova(table: "pd.DataFrame", outcomes: Sequence[str]) -> "pd.DataFrame":
    """One-way analysis of variance over all arms that have the outcome: one row per outcome.

    Columns: outcome, arms (their number), n, f, df_between, df_within, p, p_welch (Welch's
    analysis, which allows unequal variances, as a check), p_brown_forsythe, diverged, reason. All
    are NaN, with a reason, for fewer than three arms (`contrasts` has the t test), if an arm has a
    diverged run or fewer than two runs, and if no arm has any variance.
    """
    import pandas as pd

    runs = checked_runs(table, outcomes)
    rows = []
    for outcome in outcomes:
        by_arm = runs_by_arm(runs, outcome)
        samples = [x.to_numpy() for x in by_arm.values()]
        row = {"outcome": outcome, "arms": len(samples), "n": sum(map(len, samples))}
        row |= _variance_tests(samples)
        row["diverged"] = sum(map(count_diverged, samples))
        row["reason"] = _reason(by_arm) if np.isnan(row["p"]) else ""
        rows.append(row)
    return pd.DataFrame(rows)


def tukey(table: "pd.DataFrame", outcomes: Sequence[str], alpha: float = 0.05) -> "pd.DataFrame":
    """Tukey's HSD between all pairs of arms: one row per outcome and pair, in order of arms.

    Columns: outcome, arm_a, arm_b, difference (a − b), low, high (simultaneous 1 − α), p
    (corrected), diverged (in either arm), reason. Where `anova` is not estimable, neither is any
    pair: the pooled variance and the number of arms are common to all.
    """
    import pandas as pd

    check_level(alpha)
    runs = checked_runs(table, outcomes)
    rows = []
    for outcome in outcomes:
        by_arm = runs_by_arm(runs, outcome)
        arms, samples = list(by_arm), [x.to_numpy() for x in by_arm.values()]
        result = group_tests.tukey_hsd(*samples, alpha=alpha) if len(arms) >= MIN_ARMS else None
        for i, j in combinations(range(len(arms)), 2):
            row = {"outcome": outcome, "arm_a": arms[i], "arm_b": arms[j]}
            for name in ("difference", "low", "high", "p"):
                row[name] = np.nan if result is None else float(getattr(result, name)[i, j])
            row["diverged"] = count_diverged(samples[i]) + count_diverged(samples[j])
            row["reason"] = _reason(by_arm) if np.isnan(row["p"]) else ""
            rows.append(row)
    return pd.DataFrame(rows)


def _variance_tests(samples: Sequence[np.ndarray]) -> dict:
    if len(samples) < MIN_ARMS:
        return vars(group_tests.NO_F_TEST) | {"p_welch": np.nan, "p_brown_forsythe": np.nan}
    return vars(group_tests.one_way_anova(*samples)) | {
        "p_welch": group_tests.welch_anova(*samples).p,
        "p_brown_forsythe": group_tests.brown_forsythe(*samples).p,
    }


def _reason(by_arm: Mapping[str, "pd.Series"]) -> str:
    """Why a comparison of all arms has no p value, as a sentence."""
    if len(by_arm) < MIN_ARMS:
        return f"{len(by_arm)} arms; the analysis needs three."
    diverged = [arm for arm, values in by_arm.items() if count_diverged(values)]
    if diverged:
        return f"Runs of {', '.join(diverged)} diverged."
    short = [arm for arm, values in by_arm.items() if len(values) < 2]
    if short:
        return f"Fewer than two runs of {', '.join(short)}."
    return "All runs of each arm have the same value."
