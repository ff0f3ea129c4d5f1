"""The percentile interval turned about, and what is drawn together in a resample."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.statistics.bootstrap import percentile_interval, resampled
from muonlab.statistics.cost_benefit import cost_benefit, share
from muonlab.statistics.speedup import speed_up

VALUES = st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=220)
ALPHAS = st.one_of(st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.5]), st.floats(0.001, 0.999))


@given(values=VALUES, alpha=ALPHAS)
def test_the_interval_of_the_negated_values_is_the_negated_interval(values, alpha):
    low, high = percentile_interval(values, alpha)
    turned = percentile_interval(np.negative(values), alpha)
    np.testing.assert_array_equal(turned, (-high, -low))


@given(n=st.integers(2, 400), alpha=ALPHAS)
def test_each_end_leaves_out_as_many_as_fit_into_half_of_alpha(n, alpha):
    low, high = percentile_interval(np.arange(n), alpha)
    outside = (float(low), n - 1 - float(high))
    assert outside[0] == outside[1] <= alpha / 2 * n + 1e-9
    assert outside[0] + 1 > alpha / 2 * n - 1e-9
    assert low <= high


def test_two_hundred_values_lose_five_at_each_end_and_two_thousand_fifty():
    assert percentile_interval(np.arange(200.0)) == (5, 194)
    assert percentile_interval(np.arange(2000.0)) == (50, 1949)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.32])
def test_values_within_it_are_at_least_its_level(alpha):
    values = np.random.default_rng(0).normal(size=1000)
    low, high = percentile_interval(values, alpha)
    assert np.mean((values >= low) & (values <= high)) == pytest.approx(1 - alpha, abs=1e-3)


@given(st.integers(2, 8), st.integers(2, 12), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_arms_that_change_places_change_the_sign_of_what_is_saved(n, rounds, seed):
    random = np.random.default_rng(seed)
    a, b = random.uniform(10, 100, (2, n))
    t, u = random.uniform(0.1, 0.3, (2, rounds))
    found, turned = cost_benefit(a, b, t, u, resamples=200), cost_benefit(b, a, u, t, resamples=200)
    assert (turned.saved_low, turned.saved_high) == (-found.saved_high, -found.saved_low)


# ---------------------------------------------------------------- pairs


def test_seeds_are_drawn_for_both_arms_at_once():
    """With twice the steps on every seed, every resample has the ratio 2: no spread at all."""
    steps = np.array([30.0, 80.0, 55.0, 41.0])
    found = cost_benefit(steps, 2 * steps, [0.1, 0.2, 0.15], [0.1, 0.1, 0.2])
    assert found.break_even == 2
    assert math.isnan(found.break_even_low) and math.isnan(found.break_even_high)
    other = cost_benefit(steps, 2 * steps[::-1], [0.1, 0.2, 0.15], [0.1, 0.1, 0.2])
    assert other.break_even_high - other.break_even_low > 0.5


def test_rounds_are_drawn_for_both_arms_at_once():
    seconds = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    found = cost_benefit([10, 20], [20, 30], 3 * seconds, seconds)
    assert found.cost == pytest.approx(3)
    assert math.isnan(found.cost_low) and math.isnan(found.cost_high)
    # What is saved has both sources of noise: with seeds alone it would have three values.
    drawn = cost_benefit([10, 20], [20, 30], 3 * seconds, seconds, alpha=0.32)
    assert drawn.saved_high - drawn.saved_low > 1


def test_a_part_and_the_whole_are_of_the_same_rounds():
    whole = np.array([1.0, 3.0, 2.0, 2.5, 1.5])
    found = share(0.1 * whole, whole)
    assert found.value == pytest.approx(0.1) and math.isnan(found.low) and math.isnan(found.high)


def test_the_baseline_and_the_other_arm_are_of_the_same_seeds():
    """Seeds that differ by a level which both arms share leave the speed-up as it is."""
    steps, levels = np.linspace(0, 100, 11), np.array([[0.0], [0.5], [1.0], [-0.7]])
    losses = 4 - 2 * steps / 100 + levels
    found = speed_up(steps, losses, 100, 4 - 2 * 0.6 + levels[:, 0])
    assert found.ratio == pytest.approx(0.6) and math.isnan(found.low)


def test_the_time_of_both_arms_is_of_the_same_seeds():
    """Seeds of which each takes its own time to every step, alike in both arms."""
    steps, pace = np.linspace(0, 100, 11), np.array([1.0, 3.0, 2.0, 1.5])
    losses = np.tile(4 - 2 * steps / 100, (4, 1))
    found = speed_up(pace[:, None] * steps, losses, 100 * pace, [4 - 2 * 0.6] * 4)
    assert found.ratio == pytest.approx(0.6) and math.isnan(found.low)


def test_resamples_have_streams_of_their_own():
    same = resampled(50, 3, 0, "seeds")
    assert same.shape == (3, 50) and same.min() >= 0 and same.max() <= 49
    np.testing.assert_array_equal(same, resampled(50, 3, 0, "seeds"))
    assert (same != resampled(50, 3, 1, "seeds")).any()
    assert (same != resampled(50, 3, 0, "rounds")).any()
    assert (resampled(3, 400, 0, "seeds") == 2).any() and len(np.unique(same[0])) < 50
