"""Loss against a dose: slopes, rank correlations, Page's trend test, points with error bars."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics.dose_response import dose_response, dose_response_of, dose_table
from muonlab.statistics.intervals import mean_interval

DOSES = [0.0, 0.05, 0.1, 0.3, 0.5]


def outcomes(slope, n=6, noise=0.1, seed=0, doses=DOSES):
    generator = np.random.default_rng(seed)
    level = generator.uniform(2, 4, (n, 1))
    return level + slope * np.asarray(doses) + noise * generator.normal(size=(n, len(doses)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 8), each=st.booleans())
def test_slopes_and_ranks_are_those_of_each_seed(seed, n, each):
    y = outcomes(0.5, n, noise=0.5, seed=seed)
    x = np.asarray(DOSES)
    if each:  # every run has its own measured dose
        x = x + np.random.default_rng(seed).uniform(0, 0.02, y.shape)
    found = dose_response(x, y)
    rows = list(zip(np.broadcast_to(x, y.shape), y, strict=True))
    slopes = [stats.linregress(a, b).slope for a, b in rows]
    rhos = [stats.spearmanr(a, b).statistic for a, b in rows]
    slope, rho = mean_interval(slopes), mean_interval(rhos)
    got = (found.slope, found.slope_low, found.slope_high, found.p_slope, found.rho)
    want = (slope.mean, slope.low, slope.high, stats.ttest_1samp(slopes, 0).pvalue, rho.mean)
    assert got == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert (found.n, found.doses, found.diverged) == (n, 5, 0)
    limits = (max(rho.low, -1), min(rho.high, 1)) if rho.estimable else (np.nan, np.nan)
    assert (found.rho_low, found.rho_high) == pytest.approx(limits, nan_ok=True)
    assert math.isnan(found.p_page) == each


def test_the_slope_s_interval_covers_the_truth():
    found = [dose_response(DOSES, outcomes(0.7, 5, noise=0.3, seed=s)) for s in range(600)]
    coverage = np.mean([f.slope_low < 0.7 < f.slope_high for f in found])
    assert abs(coverage - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 600)


def test_seeds_that_all_rank_alike_have_a_trend_though_no_spread():
    found = dose_response(DOSES, outcomes(2.0, noise=0.0))
    assert found.rho == pytest.approx(1) and math.isnan(found.rho_low) and found.p_page < 0.001
    falling = dose_response(DOSES, outcomes(-2.0, noise=0.0))
    assert falling.rho == pytest.approx(-1) and falling.p_page == pytest.approx(found.p_page)


def test_page_s_p_is_exact_for_a_small_table():
    # All 3!² rankings of two seeds: L is largest for one of them, so p is 2 · 1/36.
    ranks = list(itertools.permutations([1, 2, 3]))
    scores = [sum(i * (a + b) for i, a, b in zip((1, 2, 3), x, y, strict=True))
              for x in ranks for y in ranks]  # fmt: skip
    p = np.mean([s >= max(scores) for s in scores])
    found = dose_response([0.1, 0.2, 0.3], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert found.p_page == pytest.approx(2 * p) == pytest.approx(2 / 36)


def test_the_order_of_the_doses_changes_nothing():
    y = outcomes(0.5)
    order = [3, 0, 4, 1, 2]
    a, b = dose_response(DOSES, y), dose_response(np.asarray(DOSES)[order], y[:, order])
    assert vars(a) == pytest.approx(vars(b))


def test_a_diverged_run_ranks_last_and_has_no_slope():
    y = outcomes(1.0, noise=0.0)
    y[0, 4] = np.inf
    found = dose_response(DOSES, y)
    assert found.diverged == 1 and math.isnan(found.slope) and math.isnan(found.p_slope)
    assert found.rho == pytest.approx(1) and found.p_page < 0.001
    y[0, 4] = np.nan
    unknown = dose_response(DOSES, y)
    assert np.isnan([unknown.slope, unknown.rho, unknown.p_page]).all()


def test_degenerate_doses_and_outcomes_give_no_number():
    y = outcomes(1.0)
    assert math.isnan(dose_response([0.1] * 5, y).slope)
    assert math.isnan(dose_response([0.1] * 5, y).rho)
    two = dose_response(DOSES[:2], y[:, :2])
    assert math.isnan(two.rho) and math.isnan(two.p_page) and math.isfinite(two.slope)
    one = dose_response(DOSES, y[:1])
    assert np.isnan([one.slope, one.rho, one.p_page]).all() and one.n == 1
    assert math.isnan(dose_response([0.0, 0.1, 0.1, 0.2, 0.3], y).p_page)  # doses that tie
    none = dose_response(DOSES, np.empty((0, 5)))
    assert none.n == 0 and math.isnan(none.slope)


@pytest.mark.parametrize(
    ("doses", "shape", "message"),
    [([0.1, 0.2], (3, 5), "must be of shape"), ([0.1, np.nan], (3, 2), "doses must be finite")],
)
def test_mistakes_are_refused(doses, shape, message):
    with pytest.raises(ValueError, match=message):
        dose_response(doses, np.ones(shape))


def test_the_table_and_the_test_read_the_same_runs():
    y = outcomes(0.5)
    arms = {f"dose_{9 - i}": dose for i, dose in enumerate(DOSES)}  # in no order of names
    table = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "outcome": "final_loss", "value": y[seed, i]}
            for i, arm in reversed(list(enumerate(arms)))
            for seed in range(len(y))
        ]
    )
    points = dose_table(table, dict(reversed(arms.items())), "final_loss")
    assert list(points["dose"]) == DOSES and list(points["arm"]) == list(arms)
    for row, values in zip(points.itertuples(), y.T, strict=True):
        want = mean_interval(values)
        assert (row.mean, row.low, row.high) == pytest.approx((want.mean, want.low, want.high))
    found = dose_response_of(table, arms, "final_loss")
    assert vars(found) == pytest.approx(vars(dose_response(DOSES, y)))


def test_ranks_that_cancel_have_no_sign():
    y = [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [3.0, 1.0, 2.0]]
    assert dose_response([0.1, 0.2, 0.3], y).rho == 0.0
