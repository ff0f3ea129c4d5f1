"""Slopes over depth and training, and ratios of deviations, against independent computations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics.depth import depth_fit
from muonlab.statistics.spread_ratio import spread_ratio


def grid(layers=5, times=7):
    layer, time = np.meshgrid(np.arange(layers), np.linspace(0, 1000, times), indexing="ij")
    return layer.ravel(), time.ravel()


@given(*[st.floats(-3, 3) for _ in range(4)])
def test_the_coefficients_of_an_exact_plane_are_found(level, depth, growth, stretching):
    layer, time = grid()
    d, tau = layer / 4 - 0.5, time / 1000
    fit = depth_fit(layer, time, level + depth * d + growth * tau + stretching * d * tau)
    found = [fit.depth, fit.growth, fit.stretching]
    assert found == pytest.approx([depth, growth, stretching], abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_on_a_whole_grid_the_fit_is_that_of_slopes_over_depth_at_each_time(seed):
    """Independent way: a line over depth at each moment, then lines through intercept and slope."""
    layer, time = grid()
    y = np.random.default_rng(seed).normal(size=len(layer))
    by_time = [stats.linregress(layer[time == t] / 4 - 0.5, y[time == t]) for t in np.unique(time)]
    taus = np.unique(time) / 1000
    slopes = stats.linregress(taus, [line.slope for line in by_time])
    levels = stats.linregress(taus, [line.intercept for line in by_time])
    fit = depth_fit(layer, time, y)
    assert fit.stretching == pytest.approx(slopes.slope, abs=1e-9)
    assert fit.depth == pytest.approx(slopes.intercept, abs=1e-9)
    assert fit.growth == pytest.approx(levels.slope, abs=1e-9)
    lines = dict(zip(np.unique(time), taus, strict=True))
    tau = np.array([lines[t] for t in time])
    mean_line = levels.intercept + levels.slope * tau
    tilted = mean_line + (slopes.intercept + slopes.slope * tau) * (layer / 4 - 0.5)
    explained = np.corrcoef(tilted, y)[0, 1] ** 2
    assert fit.explained == pytest.approx(explained, abs=1e-9)
    order = np.random.default_rng(1).permutation(len(y))
    again = depth_fit(layer[order], 3 * time[order], y[order])
    assert again.stretching == pytest.approx(fit.stretching, abs=1e-9)


@pytest.mark.parametrize(
    ("layer", "time", "y"),
    [
        ([0, 1], [0, 0], [1, 2]),
        ([0, 0, 0], [0, 1, 2], [1, 2, 3]),
        ([0, 1, 0, 1], [0, 0, 1, 1], [1, 2, math.inf, 1]),
        ([], [], []),
        ([0, 1, 2], [0, 1, 2], [1, 2, 3]),
    ],
)
def test_what_cannot_be_told_apart_is_not_estimable(layer, time, y):
    assert math.isnan(depth_fit(layer, time, y).stretching)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 9))
def test_the_paired_interval_excludes_0_exactly_where_pitmans_test_rejects(seed, n):
    """Pitman and Morgan: equal variances are rejected where sum and difference are correlated."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n) * rng.choice([1, 8]), rng.normal(size=n)
    b = b + 0.5 * a
    p = stats.pearsonr(a + b, a - b).pvalue
    found = spread_ratio(a, b, alpha=0.05)
    assert (found.low > 0 or found.high < 0) == (p < 0.05)
    assert found.log_ratio == pytest.approx(math.log(np.std(a, ddof=1) / np.std(b, ddof=1)))
    flipped = spread_ratio(b, a, alpha=0.05)
    assert (flipped.low, flipped.high) == pytest.approx((-found.high, -found.low))
    wider = spread_ratio(a, b, alpha=0.05, family=4)
    assert wider.low < found.low and wider.high > found.high


def test_the_unpaired_interval_covers_the_true_ratio_as_often_as_it_says():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(600):
        found = spread_ratio(2 * rng.normal(size=6), rng.normal(size=8), paired=False)
        hits += found.low <= math.log(2) <= found.high
    assert hits / 600 == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 600))


def test_verdicts_of_ratios_are_those_of_all_comparisons():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=12), 50 * rng.normal(size=12)
    assert spread_ratio(a, b).verdict.word == "better", "less spread is better"
    assert spread_ratio(b, a).verdict.word == "worse"
    assert spread_ratio(a[:3], b[:3]).verdict.word == "no verdict"
    assert spread_ratio(a[:2], b[:2]).verdict.reason.startswith("A ratio of paired")
    assert spread_ratio([1, 1, 1, 1], [1, 2, 3, 4]).verdict.word == "not estimable"
    assert "not finite" in spread_ratio([1, math.nan, 2], [1, 2, 3]).verdict.reason
    open_one = spread_ratio(a[:5], 1.1 * rng.normal(size=5))
    assert open_one.verdict.word == "undecided" and open_one.verdict.needs_n > 5
    with pytest.raises(ValueError, match="equally long"):
        spread_ratio([1, 2, 3], [1, 2])
