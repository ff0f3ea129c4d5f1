"""Tests of several groups, against published results, closed formulas, scipy and statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import fdtrc

from muonlab.statistics import group_tests as tests
from muonlab.statistics.hypothesis_tests import welch_t

SEEDS = st.integers(0, 2**32 - 1)

# Dried weight of plants, control and two treatments (Dobson 1983; R's data set PlantGrowth).
PLANTS = [
    [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
    [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
    [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
]


def fields(result):
    return np.array(list(vars(result).values()))


def anova_by_formula(groups):
    every = np.concatenate(groups)
    between = sum(len(x) * (np.mean(x) - np.mean(every)) ** 2 for x in groups)
    within = sum(np.sum((x - np.mean(x)) ** 2) for x in groups)
    df = len(groups) - 1, len(every) - len(groups)
    f = (between / df[0]) / (within / df[1])
    return [f, *df, fdtrc(*df, f)]


def test_anova_brown_forsythe_and_tukey_give_the_published_plant_results():
    # R 4: anova(lm(weight ~ group)), car::leveneTest, TukeyHSD(aov(weight ~ group)).
    anova = tests.one_way_anova(*PLANTS)
    assert (anova.f, anova.p) == pytest.approx((4.8461, 0.01591), abs=5e-5)
    assert (anova.df_between, anova.df_within) == (2, 27)
    levene = tests.brown_forsythe(*PLANTS)
    assert (levene.f, levene.p) == pytest.approx((1.1192, 0.3412), abs=5e-5)
    tukey = tests.tukey_hsd(*PLANTS)
    want = {
        (1, 0): (-0.371, -1.0622161, 0.3202161, 0.3908711),
        (2, 0): (0.494, -0.1972161, 1.1852161, 0.1979960),
        (2, 1): (0.865, 0.1737839, 1.5562161, 0.0120064),
    }
    for pair, row in want.items():
        got = [m[pair] for m in (tukey.difference, tukey.low, tukey.high, tukey.p)]
        assert got == pytest.approx(row, abs=1e-6)


@settings(deadline=None)
@given(seed=SEEDS, sizes=st.lists(st.integers(3, 8), min_size=2, max_size=5))
def test_anova_and_brown_forsythe_are_the_formula(seed, sizes):
    rng = np.random.default_rng(seed)
    groups = [rng.normal(i, 1 + i, n) for i, n in enumerate(sizes)]
    got = fields(tests.one_way_anova(*groups))
    np.testing.assert_allclose(got, anova_by_formula(groups), rtol=1e-7)
    deviations = [np.abs(x - np.median(x)) for x in groups]
    got = fields(tests.brown_forsythe(*groups))
    np.testing.assert_allclose(got, anova_by_formula(deviations), rtol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, sizes=st.lists(st.integers(2, 8), min_size=2, max_size=5))
def test_welch_anova_is_scipy(seed, sizes):
    from scipy.stats import f_oneway

    rng = np.random.default_rng(seed)
    groups = [rng.normal(i, 1 + i, n) for i, n in enumerate(sizes)]
    want = f_oneway(*groups, equal_var=False)
    got = tests.welch_anova(*groups)
    assert (got.f, got.p) == pytest.approx((want.statistic, want.pvalue), rel=1e-8)
    if len(groups) == 2:  # then it is Welch's t test, squared
        t = welch_t(*groups)
        assert (got.f, got.df_within, got.p) == pytest.approx((t.t**2, t.df, t.p), rel=1e-8)


@pytest.mark.parametrize(("sizes", "alpha"), [((4, 4, 4), 0.05), ((2, 5, 3, 6), 0.1)])
def test_tukey_is_scipys_to_the_last_digits(sizes, alpha):
    rng = np.random.default_rng(len(sizes))
    groups = [rng.normal(i, 1 + i, n) for i, n in enumerate(sizes)]
    want = stats.tukey_hsd(*groups)
    interval = want.confidence_interval(1 - alpha)
    for _ in range(2):  # the second time, the critical value is remembered
        got = tests.tukey_hsd(*groups, alpha=alpha)
        expected = [want.statistic, interval.low, interval.high, want.pvalue]
        np.testing.assert_allclose(fields(got), expected, rtol=1e-12, atol=1e-14)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, sizes=st.lists(st.integers(3, 12), min_size=3, max_size=3))
def test_tukey_is_statsmodels(seed, sizes):
    from statsmodels.stats.multicomp import pairwise_tukeyhsd

    rng = np.random.default_rng(seed)
    groups = [rng.normal(i / 2, 1, n) for i, n in enumerate(sizes)]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    want = pairwise_tukeyhsd(np.concatenate(groups), labels)
    got = tests.tukey_hsd(*groups)
    first, second = np.triu_indices(len(sizes), 1)
    np.testing.assert_allclose(got.difference[second, first], want.meandiffs, rtol=1e-8)
    np.testing.assert_allclose(got.low[second, first], want.confint[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.high[second, first], want.confint[:, 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.p[second, first], want.pvalues, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "test", [tests.brown_forsythe, tests.one_way_anova, tests.welch_anova, tests.tukey_hsd]
)
@pytest.mark.parametrize(
    "groups",
    [
        ([1.0, 2.0, 3.0], [1.0]),
        ([1.0, 2.0, 3.0], [2.0, np.nan, 1.0]),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]),
        ([], []),
    ],
)
def test_group_tests_without_variance_or_values_give_no_number(test, groups):
    for field in vars(test(*groups)).values():
        assert np.isnan(field).all()


def test_group_tests_refuse_one_group():
    with pytest.raises(ValueError, match="at least two groups, not 1"):
        tests.one_way_anova([1.0, 2.0])


def test_brown_forsythe_needs_three_values_and_deviations_that_vary():
    # |x − median| is one number at n = 2: the raw formula would divide by zero and reject.
    assert np.isnan(tests.brown_forsythe([1.0, 2.0], [1.0, 9.0]).p)
    assert np.isnan(tests.brown_forsythe([1.0, 2.0], [1.0, 2.0, 9.0]).p)
    assert np.isnan(tests.brown_forsythe([-1.0, -1, 1, 1], [-2.0, -2, 2, 2]).p)


@pytest.mark.parametrize("k, df", [(2, 3), (3, 6), (4, 4), (8, 32), (26, 78), (46, 138), (5, 2)])
def test_the_studentized_range_is_scipys(k, df):
    from scipy import stats

    q = np.array([0.0, 0.01, 0.5, 2.0, 4.0, 7.0, 12.0, 40.0])
    expected = stats.studentized_range.sf(q, k, df)
    assert tests.studentized_range_sf(q, k, df) == pytest.approx(expected, abs=1e-10)
