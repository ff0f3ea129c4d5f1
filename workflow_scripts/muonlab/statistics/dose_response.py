"""Whether an outcome depends on a dose: the loss on the error of the polar factor.

Each seed gives its own slope and rank correlation over the doses, and the sample consists of the
seeds: the runs of one seed are not taken as independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.statistics.intervals import RESOLUTION, check_level, is_constant, mean_interval
from muonlab.statistics.run_table import check_known, checked_runs, matrix_by_seed, runs_by_arm

if TYPE_CHECKING:
    import pandas as pd

MIN_DOSES = 3  # with two, every rank correlation is 1 or −1


@dataclass(frozen=True)
class DoseResponse:
    """Slope and rank correlation of an outcome over a dose, over n seeds; NaN where not estimable.

    `slope` is the mean over seeds of the least-squares slope, in the outcome's unit per unit of the
    dose, with its t interval and p. `rho` is the mean of Spearman's correlations, with its t
    interval kept within [−1, 1]. `p_page` is the two-sided p of Page's trend test, which is also
    defined if all seeds rank alike; it is NaN if doses differ between seeds or tie.
    """

    n: int
    doses: int
    slope: float
    slope_low: float
    slope_high: float
    p_slope: float
    rho: float
    rho_low: float
    rho_high: float
    p_page: float
    diverged: int


def dose_response(doses: ArrayLike, outcomes: ArrayLike, alpha: float = 0.05) -> DoseResponse:
    """The response of `outcomes` (n seeds, m doses) to `doses`, (m,), or (n, m) if runs differ.

    In ρ and in Page's test +inf ranks last and −inf first (a diverged run is the worst); either
    makes the slope not estimable. NaN makes all three not estimable. With fewer than three doses, ρ
    and p_page are NaN. A seed without any spread in dose or outcome has no correlation, which makes
    the mean of the correlations NaN.
    ValueError: shapes that do not match, a dose that is not finite.
    """
    check_level(alpha)
    doses, outcomes = _checked(doses, outcomes)
    n, m = outcomes.shape
    slopes = [_slope(x, y) for x, y in zip(doses, outcomes, strict=True)]
    slope = mean_interval(slopes, alpha)
    rho = mean_interval([_spearman(x, y) for x, y in zip(doses, outcomes, strict=True)], alpha)
    return DoseResponse(
        n=n,
        doses=m,
        slope=slope.mean,
        slope_low=slope.low,
        slope_high=slope.high,
        p_slope=paired_t(slopes, np.zeros(n), alpha).p,
        rho=0.0 if abs(rho.mean) < RESOLUTION else rho.mean,
        rho_low=float(np.maximum(rho.low, -1.0)),
        rho_high=float(np.minimum(rho.high, 1.0)),
        p_page=_page(doses, outcomes),
        diverged=int(np.count_nonzero(~np.isfinite(outcomes))),
    )


def dose_table(
    table: "pd.DataFrame", doses: Mapping[str, float], outcome: str, alpha: float = 0.05
) -> "pd.DataFrame":
    """One row per arm of `doses`, in rising doses: arm, dose, and n, mean, sd, low, high, diverged.

    These are the points and error bars of the figure; `dose_response_of` gives its trend.
    ValueError as in `checked_runs` and `matrix_by_seed`.
    """
    import pandas as pd

    arms, outcomes = by_dose(table, doses, outcome)
    rows = [
        {"arm": arm, "dose": doses[arm], **vars(mean_interval(values, alpha))}
        for arm, values in zip(arms, outcomes.T, strict=True)
    ]
    return pd.DataFrame(rows)


def dose_response_of(
    table: "pd.DataFrame", doses: Mapping[str, float], outcome: str, alpha: float = 0.05
) -> DoseResponse:
    """`dose_response` for a table of runs; `doses` gives each arm's dose."""
    arms, outcomes = by_dose(table, doses, outcome)
    return dose_response([doses[arm] for arm in arms], outcomes, alpha)


def by_dose(
    table: "pd.DataFrame", doses: Mapping[str, float], outcome: str
) -> tuple[list[str], np.ndarray]:
    """The arms of `doses` in rising doses, and their outcomes (seeds, arms)."""
    arms = sorted(doses, key=doses.__getitem__)
    by_arm = runs_by_arm(checked_runs(table, [outcome]), outcome)
    check_known("arm", arms, by_arm)
    return arms, matrix_by_seed(by_arm, arms)


def _checked(doses: ArrayLike, outcomes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    doses, outcomes = np.asarray(doses, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    one_for_all = doses.ndim == 1 and doses.shape == outcomes.shape[1:]
    if outcomes.ndim != 2 or not (one_for_all or doses.shape == outcomes.shape):
        raise ValueError(
            f"doses must be of shape (m,) or (n, m) and outcomes of shape (n, m), not "
            f"{doses.shape} and {outcomes.shape}."
        )
    if not np.isfinite(doses).all():
        raise ValueError("doses must be finite.")
    return np.broadcast_to(doses, outcomes.shape), outcomes


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """The least-squares slope of y on x; NaN without a spread in x."""
    if len(x) < 2 or is_constant(x) or not np.isfinite(y).all():
        return np.nan
    centred = x - np.mean(x)
    return float(centred @ (y - np.mean(y)) / (centred @ centred))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties at their mean rank (Spearman 1904)."""
    if len(x) < MIN_DOSES or np.isnan(y).any():
        return np.nan
    ranks = stats.rankdata([x, y], axis=1)
    if np.ptp(ranks, axis=1).min() == 0:
        return np.nan
    return float(np.corrcoef(ranks)[0, 1])


def _page(doses: np.ndarray, outcomes: np.ndarray) -> float:
    """Twice the smaller one-sided p of Page's test of a rising or falling trend (Page 1963)."""
    n, m = outcomes.shape
    alike = n >= 2 and (doses == doses[:1]).all() and len(np.unique(doses[0])) == m
    if m < MIN_DOSES or not alike or np.isnan(outcomes).any():
        return np.nan
    ranks = stats.rankdata(outcomes, axis=1)
    rising = stats.rankdata(doses[0]).astype(int)
    p = [
        stats.page_trend_test(ranks, ranked=True, predicted_ranks=order).pvalue
        for order in (rising, m + 1 - rising)
    ]
    return float(min(1.0, 2 * min(p)))
