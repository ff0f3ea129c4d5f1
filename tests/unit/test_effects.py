"""Effect sizes and their intervals, against formulas, quadrature and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import chi

from muonlab.statistics.effect_sizes import cohens_d_z, hedges_g, small_sample_factor

SEEDS = st.integers(0, 2**32 - 1)


def noncentral_t_cdf(t, df, delta):
    """P(T ≤ t) = E[Φ(t·S − δ)], S = χ_df/√df, by quadrature: none of the code's own calls."""
    root = np.sqrt(df)
    cuts = chi.ppf([1e-13, 0.05, 0.5, 0.95, 1 - 1e-13], df) / root
    return sum(
        quad(lambda s: ndtr(t * s - delta) * chi.pdf(s * root, df) * root, *ends, epsabs=1e-12)[0]
        for ends in zip(cuts[:-1], cuts[1:], strict=True)
    )


def arms(seed, n_a, n_b=None):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 1, n_a), rng.normal(3, 1, n_b or n_a)


def fields(effect):
    return np.array([effect.value, effect.low, effect.high])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 12), alpha=st.sampled_from([0.05, 0.1, 0.32]))
def test_d_z_is_the_formula_and_its_bounds_have_the_tail_probabilities(seed, n, alpha):
    a, b = arms(seed, n)
    got = cohens_d_z(a, b, alpha)
    d = a - b
    assert got.value == pytest.approx(d.mean() / np.sqrt(d.var() * n / (n - 1)), rel=1e-9)
    t, root = got.value * np.sqrt(n), np.sqrt(n)
    assert noncentral_t_cdf(t, n - 1, got.low * root) == pytest.approx(1 - alpha / 2, abs=1e-6)
    assert noncentral_t_cdf(t, n - 1, got.high * root) == pytest.approx(alpha / 2, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, n_a=st.integers(2, 12), n_b=st.integers(2, 12))
def test_g_is_statsmodels_and_its_bounds_have_the_tail_probabilities(seed, n_a, n_b):
    from statsmodels.stats.meta_analysis import effectsize_smd

    a, b = arms(seed, n_a, n_b)
    got, df = hedges_g(a, b), n_a + n_b - 2
    moments = (a.mean(), a.std(ddof=1), n_a, b.mean(), b.std(ddof=1), n_b)
    approximate = 1 - 3 / (4 * (n_a + n_b) - 9)  # statsmodels' J; Hedges 1981 gives both
    want = effectsize_smd(*moments)[0] / approximate
    j, unit = small_sample_factor(df), np.sqrt(1 / n_a + 1 / n_b)
    assert got.value == pytest.approx(j * want, rel=1e-9)
    t = want / unit
    for bound, tail in ((got.low, 0.975), (got.high, 0.025)):
        assert noncentral_t_cdf(t, df, bound / (j * unit)) == pytest.approx(tail, abs=1e-6)


def test_small_sample_factor_has_its_closed_values_and_removes_the_bias():
    # Γ(1)/Γ(½) = 1/√π at two degrees of freedom, √(2/π) at four.
    assert small_sample_factor(2) == pytest.approx(1 / np.sqrt(np.pi), rel=1e-12)
    assert small_sample_factor(4) == pytest.approx(np.sqrt(2 / np.pi), rel=1e-12)
    assert small_sample_factor(200) == pytest.approx(1 - 3 / (4 * 200 - 1), abs=1e-5)
    a, b = np.random.default_rng(2).normal(size=(2, 40_000, 4))
    a = a + 1.0  # true standardised difference 1
    d = (a.mean(1) - b.mean(1)) / np.sqrt((a.var(1, ddof=1) + b.var(1, ddof=1)) / 2)
    g = small_sample_factor(6) * d
    assert abs(g.mean() - 1) < 4 * g.std() / np.sqrt(len(g)) < 0.03 < abs(d.mean() - 1)
    with pytest.raises(ValueError, match="df must be at least 2"):
        small_sample_factor(1)


@pytest.mark.parametrize("effect, truth", [(cohens_d_z, 0.8 / np.sqrt(2)), (hedges_g, 0.8)])
def test_intervals_cover_the_true_effect_as_often_as_they_say(effect, truth):
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.8, 1, (400, 5)), rng.normal(0, 1, (400, 5))
    intervals = [effect(x, y, alpha=0.2) for x, y in zip(a, b, strict=True)]
    if effect is hedges_g:  # the interval of d, which holds exactly, is scaled by J < 1
        truth = truth * small_sample_factor(8)
    coverage = np.mean([i.low < truth < i.high for i in intervals])
    assert abs(coverage - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 400)


@pytest.mark.parametrize("effect", [cohens_d_z, hedges_g])
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, n=st.integers(2, 9), shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_effects_swap_shift_and_scale(effect, seed, n, shift, scale):
    a, b = arms(seed, n)
    base = fields(effect(a, b))
    assert base[1] < base[0] < base[2] or effect is hedges_g
    np.testing.assert_allclose(fields(effect(b, a)), -base[[0, 2, 1]], rtol=1e-6, atol=1e-8)
    moved = fields(effect(scale * (a + shift), scale * (b + shift)))
    np.testing.assert_allclose(moved, base, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [2, 4, 10])
def test_zero_effect_has_the_normal_interval(n):
    # At t = 0 the noncentral t's distribution is Φ(−δ): the bounds are ∓1.959964/√n exactly.
    d = np.tile([-1.0, 1.0], n // 2)
    got = cohens_d_z(d, np.zeros(n))
    want = [0, -1.959964 / np.sqrt(n), 1.959964 / np.sqrt(n)]
    np.testing.assert_allclose(fields(got), want, atol=1e-6)


@pytest.mark.parametrize("effect", [cohens_d_z, hedges_g])
@pytest.mark.parametrize(
    "a, b",
    [
        ([], []),
        ([1.0], [2.0]),
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, 2.0], [np.inf, 2.0]),
        ([1.0, 1.0], [2.0, 2.0]),
    ],
)
def test_effects_that_cannot_be_estimated_are_nan(effect, a, b):
    got = effect(a, b)
    assert not got.estimable and np.isnan(fields(got)).all()


def test_equal_differences_have_no_d_z_but_a_g():
    a, b = [0.3, 0.4, 0.7], [0.1, 0.2, 0.5]  # differ by .2 up to rounding
    assert not cohens_d_z(a, b).estimable and not cohens_d_z(a, a).estimable
    assert hedges_g(a, b).value > 0 and hedges_g(a, a).value == 0


def test_a_huge_effect_has_a_finite_interval_and_returns():
    a = np.array([1.0, 1.0 + 1e-9, 1.0 - 1e-9])
    got = cohens_d_z(a, a * 0)
    assert 1e8 < got.low < got.value < got.high < 1e10


def test_paired_effect_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="a has 1 values, b has 2"):
        cohens_d_z([1.0], [1.0, 2.0])
