"""Intervals of a mean and the inversion of the noncentral t, against formulas and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, stdtrit
from scipy.stats import chi

from muonlab.statistics.intervals import (
    count_diverged,
    intervals_by,
    mean_interval,
    noncentrality,
)

SEEDS = st.integers(0, 2**32 - 1)


def noncentral_t_cdf(t, df, delta):
    """P(T ≤ t) = E[Φ(t·S − δ)], S = χ_df/√df, by quadrature: none of the code's own calls."""
    root = np.sqrt(df)
    bounds = chi.ppf([1e-13, 0.5, 1 - 1e-13], df) / root
    density = [
        quad(lambda s: ndtr(t * s - delta) * chi.pdf(s * root, df) * root, *ends, epsabs=1e-12)[0]
        for ends in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    return sum(density)


@settings(deadline=None)
@given(seed=SEEDS, n=st.integers(2, 40), alpha=st.floats(0.01, 0.5))
def test_mean_interval_is_the_t_formula(seed, n, alpha):
    x = np.random.default_rng(seed).normal(3, 2, n)
    got = mean_interval(x, alpha)
    mean = sum(x) / n
    sd = np.sqrt(sum((x - mean) ** 2) / (n - 1))
    half = stdtrit(n - 1, 1 - alpha / 2) * sd / np.sqrt(n)
    assert got.estimable and (got.n, got.diverged) == (n, 0)
    np.testing.assert_allclose(
        [got.mean, got.sd, got.low, got.high], [mean, sd, mean - half, mean + half], rtol=1e-9
    )


def test_mean_interval_covers_the_truth_as_often_as_it_says():
    x = np.random.default_rng(0).normal(1.5, 2, (3000, 5))
    intervals = [mean_interval(row, alpha=0.1) for row in x]
    coverage = np.mean([i.low < 1.5 < i.high for i in intervals])
    # Four binomial standard errors; a normal interval would cover .83 at n = 5.
    assert abs(coverage - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 3000)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_values_give_no_number(values):
    got = mean_interval(values)
    assert not got.estimable and got.n == len(values)
    assert np.isnan([got.mean, got.sd, got.low, got.high]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_run_is_counted_and_makes_the_mean_not_estimable(bad):
    got = mean_interval([1.0, bad, 2.0, bad])
    assert (got.n, got.diverged, got.estimable) == (4, 2, False)
    assert np.isnan([got.mean, got.sd, got.low, got.high]).all()
    assert count_diverged([1.0, bad, 2.0, bad]) == 2


@pytest.mark.parametrize("values", [[500.0] * 5, [0.1 + 0.2, 0.3, 0.3], [0.0, 0.0]])
def test_zero_variance_has_a_mean_and_no_interval(values):
    got = mean_interval(values)
    assert got.mean == pytest.approx(values[-1]) and got.sd == 0 and not got.estimable
    assert np.isnan([got.low, got.high]).all()


def test_a_small_spread_that_is_not_rounding_is_kept():
    got = mean_interval([1.0, 1.0 + 1e-9])
    assert got.estimable and got.sd == pytest.approx(1e-9 / np.sqrt(2), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    t=st.floats(-60, 60),
    df=st.integers(1, 60),
    cumulative=st.sampled_from([0.005, 0.025, 0.2, 0.5, 0.9, 0.975]),
)
def test_noncentrality_inverts_the_noncentral_t(t, df, cumulative):
    delta = noncentrality(t, df, cumulative)
    assert noncentral_t_cdf(t, df, delta) == pytest.approx(cumulative, abs=1e-7)


@settings(deadline=None)
@given(df=st.integers(1, 500), cumulative=st.floats(0.001, 0.999))
def test_noncentrality_at_zero_is_the_normal_quantile(df, cumulative):
    # P(T ≤ 0 | δ) = P(Z ≤ −δ), whatever the degrees of freedom.
    assert ndtr(-noncentrality(0.0, df, cumulative)) == pytest.approx(cumulative, abs=1e-9)


@pytest.mark.parametrize("df", [1, 4, 30])
@pytest.mark.parametrize("cumulative", [0.025, 0.975])
def test_noncentrality_at_tiny_t_is_smooth(df, cumulative):
    got = [noncentrality(t, df, cumulative) for t in (-1e-6, -1e-100, 0.0, 3e-117, 1e-8, 1e-6)]
    np.testing.assert_allclose(got, got[2], atol=2e-6)


@pytest.mark.parametrize("df", [1, 4, 30])
@pytest.mark.parametrize("cumulative", [0.025, 0.975])
def test_noncentrality_of_huge_t_returns_and_is_smooth(df, cumulative):
    # δ/t tends to the quantile of S: the two branches must meet, and 1e12 must not hang.
    ratios = [noncentrality(t, df, cumulative) / t for t in (9.99e3, 1.001e4, 1e6, 1e12)]
    limit = chi.ppf(1 - cumulative, df) / np.sqrt(df)
    np.testing.assert_allclose(ratios, limit, rtol=1e-4)


def test_bad_arguments_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="alpha must lie strictly between 0 and 1"):
        mean_interval([1.0, 2.0], alpha=1.0)
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_interval([[1.0, 2.0]])


@settings(deadline=None)
@given(st.data(), st.sampled_from([0.05, 0.01]))
def test_intervals_of_many_places_are_those_of_each(data, alpha):
    value = st.one_of(
        st.floats(-1e3, 1e3), st.just(math.inf), st.just(math.nan), st.just(3.0), st.just(-0.5)
    )
    groups = data.draw(st.lists(st.lists(value, min_size=1, max_size=6), min_size=1, max_size=8))
    pairs = [(v, place) for place, group in enumerate(groups) for v in group]
    pairs = data.draw(st.permutations(pairs))
    # A group keeps its values, whichever places lie between them.
    found = intervals_by([v for v, _ in pairs], [place for _, place in pairs], alpha)
    for place in range(len(groups)):
        wanted = mean_interval([v for v, p in pairs if p == place], alpha)
        for name, values in found.items():
            np.testing.assert_allclose(values[place], getattr(wanted, name), rtol=1e-12, atol=1e-12)


def test_intervals_by_place_keep_a_place_without_values_empty():
    found = intervals_by([1.0, 2.0], [0, 2])
    assert found["n"].tolist() == [1, 0, 1]
    assert np.isnan(found["mean"]).all() and np.isnan(found["low"]).all()
