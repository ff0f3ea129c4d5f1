"""Tests of two arms, against published results, formulas, enumeration and statsmodels."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from scipy.stats import chi, rankdata

from muonlab.statistics import hypothesis_tests as tests

SEEDS = st.integers(0, 2**32 - 1)

# Extra hours of sleep under two drugs, ten patients (Cushny & Peebles 1905; Student 1908, p. 20).
SLEEP_A = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_B = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def arms(seed, n_a, n_b=None):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 1, n_a), rng.normal(2.5, 3, n_b or n_a)


def fields(result):
    return np.array(list(vars(result).values()))


def test_paired_t_gives_the_published_sleep_result():
    got = tests.paired_t(SLEEP_A, SLEEP_B)  # R 4: t.test(sleep, paired = TRUE)
    assert got.t == pytest.approx(-4.0621, abs=5e-5) and got.df == 9
    assert got.p == pytest.approx(0.002833, abs=5e-7)
    assert (got.low, got.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert got.difference == pytest.approx(-1.58)


def test_welch_t_gives_the_published_sleep_result():
    got = tests.welch_t(SLEEP_A, SLEEP_B)  # R 4: t.test(extra ~ group, sleep)
    assert got.t == pytest.approx(-1.8608, abs=5e-5)
    assert got.df == pytest.approx(17.776, abs=5e-4)
    assert got.p == pytest.approx(0.07939, abs=5e-6)
    assert (got.low, got.high) == pytest.approx((-3.3654832, 0.2054832), abs=5e-8)


@settings(deadline=None)
@given(seed=SEEDS, n=st.integers(2, 12), alpha=st.floats(0.01, 0.3))
def test_paired_t_is_the_formula(seed, n, alpha):
    a, b = arms(seed, n)
    got = tests.paired_t(a, b, alpha)
    mean, se = np.mean(a - b), np.std(a - b, ddof=1) / np.sqrt(n)
    half = stdtrit(n - 1, 1 - alpha / 2) * se
    want = [mean, mean - half, mean + half, se, mean / se, n - 1]
    np.testing.assert_allclose(fields(got)[:-1], want, rtol=1e-7, atol=1e-9)
    assert got.p == pytest.approx(2 * stdtr(n - 1, -abs(mean / se)), rel=1e-7)


@settings(deadline=None)
@given(seed=SEEDS, n_a=st.integers(2, 12), n_b=st.integers(2, 12))
def test_welch_t_is_statsmodels(seed, n_a, n_b):
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    a, b = arms(seed, n_a, n_b)
    got = tests.welch_t(a, b)
    compare = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    t, p, df = compare.ttest_ind(usevar="unequal")
    low, high = compare.tconfint_diff(usevar="unequal")
    want = [low, high, compare.std_meandiff_separatevar, t, df, p]
    np.testing.assert_allclose(fields(got)[1:], want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("test", [tests.paired_t, tests.welch_t])
@settings(deadline=None)
@given(seed=SEEDS, n=st.integers(2, 12), shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_t_tests_swap_shift_and_scale(test, seed, n, shift, scale):
    a, b = arms(seed, n)
    base, swapped = test(a, b), test(b, a)
    moved = test(scale * (a + shift), scale * (b + shift))
    flipped = [-base.difference, -base.high, -base.low, base.se, -base.t, base.df, base.p]
    np.testing.assert_allclose(fields(swapped), flipped, rtol=1e-7, atol=1e-12)
    unit = np.array([scale] * 4 + [1] * 3)
    np.testing.assert_allclose(fields(moved), unit * fields(base), rtol=1e-5, atol=1e-9 * scale)


@pytest.mark.parametrize("test", [tests.paired_t, tests.welch_t])
@pytest.mark.parametrize(
    "a, b", [([], []), ([1.0], [2.0]), ([1, np.nan, 2], [1, 2, 4]), ([1, 2, 3], [1, np.inf, 2])]
)
def test_t_tests_without_two_finite_values_give_no_number(test, a, b):
    assert np.isnan(fields(test(a, b))).all()


@pytest.mark.parametrize(
    "a, b, difference",
    [([1.0, 2.0], [1.0, 2.0], 0.0), ([0.3, 0.4, 0.7], [0.1, 0.2, 0.5], 0.2), ([0, 0], [0, 0], 0)],
)
def test_paired_t_of_equal_differences_gives_the_difference_alone(a, b, difference):
    got = tests.paired_t(a, b)
    assert got.difference == pytest.approx(difference, abs=1e-15)
    assert np.isnan(fields(got)[1:]).all()


def test_welch_t_needs_variance_in_one_arm_only():
    a, b = [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]
    got = tests.welch_t(a, b)
    assert (got.t, got.df) == pytest.approx((-np.sqrt(3), 2))  # the constant arm drops out
    both = tests.welch_t(a, [2.0, 2.0])
    assert both.difference == -1 and np.isnan(fields(both)[1:]).all()


def test_paired_tests_refuse_unequal_lengths():
    for test in (tests.paired_t, tests.wilcoxon_signed_rank):
        with pytest.raises(ValueError, match="a has 2 values, b has 3"):
            test([1, 2], [1, 2, 3])


@settings(deadline=None)
@given(seed=SEEDS, n=st.integers(2, 12), sesoi=st.floats(0.01, 10))
def test_tost_is_statsmodels_and_agrees_with_the_interval(seed, n, sesoi):
    from statsmodels.stats.weightstats import ttost_paired

    a, b = arms(seed, n)
    p = tests.tost(tests.paired_t(a, b), sesoi)
    assert p == pytest.approx(ttost_paired(a, b, -sesoi, sesoi)[0], rel=1e-8, abs=1e-12)
    interval = tests.paired_t(a, b, alpha=0.1)
    assert (p < 0.05) == (-sesoi < interval.low and interval.high < sesoi)


def test_tost_without_a_test_is_nan_and_needs_a_positive_difference():
    assert np.isnan(tests.tost(tests.paired_t([1], [2]), 0.1))
    assert np.isnan(tests.tost(tests.paired_t([1, 2], [1, 2]), 0.1))
    for sesoi in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="smallest difference of interest must be positive"):
            tests.tost(tests.paired_t([1, 2], [1, 3]), sesoi)


def enumerate_signs(difference):
    """Exact two-sided signed-rank p: all 2ⁿ signs of the ranks (midranks at ties)."""
    d = np.asarray(difference)[np.asarray(difference) != 0]
    ranks = rankdata(np.abs(d))
    signs = np.array(list(product([0, 1], repeat=len(d))))
    null = signs @ ranks
    observed = (d > 0) @ ranks
    return min(1.0, 2 * min(np.mean(null <= observed), np.mean(null >= observed)))


def test_wilcoxon_gives_the_published_depression_result():
    # Hollander & Wolfe 1973, p. 29: V = 40, one-sided p .01953 (R's ?wilcox.test), doubled here.
    x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    got = tests.wilcoxon_signed_rank(x, y)
    assert got.p == pytest.approx(2 * 0.01953, abs=1e-5)
    assert got.statistic == 9 * 10 / 2 - 40  # the smaller of the two rank sums


@settings(max_examples=40, deadline=None)
@given(
    a=st.lists(st.integers(-4, 4), min_size=6, max_size=10),
    seed=SEEDS,
)
def test_wilcoxon_with_ties_and_zeros_is_the_enumeration(a, seed):
    b = np.random.default_rng(seed).integers(-4, 5, len(a))
    got = tests.wilcoxon_signed_rank(np.array(a) / 10, b / 10)  # tenths: rounding must not untie
    difference = np.array(a) - b
    assert got.n == np.count_nonzero(difference)
    if got.n < tests.MIN_PAIRS_WILCOXON:
        assert np.isnan(got.p)
    else:
        assert got.p == pytest.approx(enumerate_signs(difference), rel=1e-12)


@settings(deadline=None)
@given(seed=SEEDS, n=st.integers(6, 12), shift=st.floats(-5, 5))
def test_wilcoxon_ignores_order_and_a_common_shift(seed, n, shift):
    a, b = arms(seed, n)
    p = tests.wilcoxon_signed_rank(a, b).p
    assert tests.wilcoxon_signed_rank(b, a).p == p
    assert tests.wilcoxon_signed_rank(a + shift, b + shift).p == pytest.approx(p)


def test_wilcoxon_needs_six_signs():
    a = np.arange(6.0)
    assert np.isnan(tests.wilcoxon_signed_rank(a[:5], a[:5] - 1).p)
    assert tests.wilcoxon_signed_rank(a, a - 1).p == pytest.approx(2 / 2**6)
    assert np.isnan(tests.wilcoxon_signed_rank(a, a).p)


def test_wilcoxon_ranks_infinity_last_and_gives_up_on_nan():
    a = np.array([1.0, np.inf, 3.0, 4.0, np.inf, np.inf, 7.0, 8.0])
    b = np.array([1.5, 2.0, 2.0, 1.0, 9.0, np.inf, 3.0, 2.5])
    finite = np.where(np.isinf(a), 1e6, a), np.where(np.isinf(b), 1e6, b)
    got = tests.wilcoxon_signed_rank(a, b)
    assert got.n == 7  # inf against inf is a tie
    d = np.round(finite[0] - finite[1])
    assert got.p == pytest.approx(enumerate_signs(np.where(np.abs(d) > 100, 1e6 * np.sign(d), d)))
    assert np.isnan(tests.wilcoxon_signed_rank([*a, np.nan], [*b, 1.0]).p)
    blown_up = np.where(np.isinf(a), 1e20, a), np.where(np.isinf(b), 1e20, b)
    assert tests.wilcoxon_signed_rank(*blown_up).p == pytest.approx(got.p)


def paired_power(d_z, n, alpha):
    """P(reject) of the two-sided paired t test, integrating over the estimated sd."""
    df = n - 1
    critical, root, delta = stdtrit(df, 1 - alpha / 2), np.sqrt(df), d_z * np.sqrt(n)

    def rejected(s):
        tails = ndtr(delta - critical * s) + ndtr(-delta - critical * s)
        return tails * chi.pdf(s * root, df) * root

    cuts = [0.0, *chi.ppf([0.01, 0.5, 0.99, 1 - 1e-13], df) / root]
    return sum(quad(rejected, *ends)[0] for ends in zip(cuts[:-1], cuts[1:], strict=True))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 64])
@pytest.mark.parametrize("alpha, power", [(0.05, 0.8), (0.01, 0.9), (0.2, 0.5)])
def test_minimum_detectable_difference_has_the_power_it_says(n, alpha, power):
    d_z = tests.minimum_detectable_difference(1.0, n, alpha, power)
    wrong_side = ndtr(-2 * ndtri(1 - alpha / 2))
    assert -1e-7 < paired_power(d_z, n, alpha) - power < wrong_side + 1e-7


@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_minimum_detectable_difference_is_statsmodels_where_that_converges(n):
    from statsmodels.stats.power import TTestPower

    want = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert tests.minimum_detectable_difference(2.0, n) == pytest.approx(2 * want, rel=1e-4)


def test_minimum_detectable_difference_is_what_paired_t_finds():
    n, difference = 5, tests.minimum_detectable_difference(0.5, 5)
    noise = np.random.default_rng(1).normal(difference, 0.5, (2000, n))
    rejected = [tests.paired_t(row, np.zeros(n)).p < 0.05 for row in noise]
    assert np.mean(rejected) == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 2000))


def test_a_medium_effect_takes_34_pairs():
    # Faul et al. 2007 (G*Power 3): d_z = .5, two-sided α = .05, power .8.
    assert tests.minimum_detectable_difference(1.0, 34) < 0.5
    assert tests.minimum_detectable_difference(1.0, 33) > 0.5


@pytest.mark.parametrize("sd, n", [(1.0, 1), (1.0, 0), (0.0, 5), (np.nan, 5), (np.inf, 5)])
def test_minimum_detectable_difference_of_nothing_is_nan(sd, n):
    assert np.isnan(tests.minimum_detectable_difference(sd, n))


def test_power_must_be_at_least_a_half():
    with pytest.raises(ValueError, match="power must be at least 0.5"):
        tests.minimum_detectable_difference(1.0, 5, power=0.3)
