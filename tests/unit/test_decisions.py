"""Answers to claims: each word follows from an interval, and the number of seeds from its width."""

import numpy as np
import pytest
from scipy import stats

from muonlab.statistics.decisions import (
    DEPENDS,
    FAILS,
    HOLDS,
    NOT_RUN,
    Answer,
    all_of,
    in_range,
    of_verdict,
    over_studies,
)
from muonlab.statistics.spread import ratio_of_deviations
from muonlab.statistics.verdicts import (
    BETTER,
    EQUIVALENT,
    NO_DIFFERENCE,
    NO_VERDICT,
    NOT_ESTIMABLE,
    UNDECIDED,
    WORSE,
    verdict,
)


@pytest.mark.parametrize(
    ("word", "value", "expected", "answer"),
    [
        (BETTER, -1.0, "lower", HOLDS),
        (WORSE, 1.0, "lower", FAILS),
        ("wider", 0.4, "higher", HOLDS),
        (EQUIVALENT, -0.001, "lower", FAILS),
        (EQUIVALENT, 0.001, "not higher", HOLDS),
        (BETTER, -1.0, "not higher", HOLDS),
        (WORSE, 1.0, "not higher", FAILS),
        (NO_DIFFERENCE, 0.0, "higher", NO_DIFFERENCE),
        (NO_VERDICT, 1.0, "higher", NO_VERDICT),
        (NOT_ESTIMABLE, np.nan, "higher", NOT_ESTIMABLE),
    ],
)
def test_the_answer_of_a_verdict(word, value, expected, answer):
    assert of_verdict(word, value, 5, expected).word == answer


def test_an_unknown_expectation_is_refused():
    with pytest.raises(ValueError, match="expected must be one of"):
        of_verdict(BETTER, -1, 5, "smaller")


def test_a_range_is_decided_by_the_whole_interval():
    assert in_range(1.3, 1.15, 1.45, 5, 1.1, 1.5).word == HOLDS
    assert in_range(1.8, 1.6, 2.0, 5, 1.1, 1.5).word == FAILS
    assert in_range(1.3, 1.0, 1.6, 3, 1.1, 1.5).word == NO_VERDICT
    assert in_range(1.3, 1.0, 1.6, 2, 1.1, 1.5).word == NO_VERDICT
    assert in_range(1.3, 1.0, 1.6, 1, 1.1, 1.5).word == NOT_ESTIMABLE
    assert in_range(1.3, np.nan, np.nan, 5, 1.1, 1.5).word == NOT_ESTIMABLE
    open_one = in_range(1.3, 0.9, 1.7, 4, 1.1, 1.5)
    assert (open_one.word, open_one.needs_n) == (UNDECIDED, 16)
    for value, high in ((np.inf, np.inf), (1.3, np.inf)):
        endless = in_range(value, 0.0, high, 10, 1.1, 1.5)
        assert endless.word == UNDECIDED and np.isnan(endless.needs_n)
    width = 0.4 * np.sqrt(4 / open_one.needs_n)
    assert in_range(1.3, 1.3 - width, 1.3 + width, 16, 1.1, 1.5).word == HOLDS


def test_one_comparison_refutes_and_the_least_that_is_known_counts():
    holds, fails = Answer(HOLDS, 5), Answer(FAILS, 5)
    few, some = Answer(UNDECIDED, 5, 12.0), Answer(UNDECIDED, 5, 40.0)
    assert all_of([holds, fails, few]).word == FAILS
    assert all_of([holds, few, some]) == Answer(UNDECIDED, 5, 40.0)
    assert all_of([holds, Answer(NOT_RUN)]).word == HOLDS
    assert all_of([Answer(NOT_RUN)]).word == NOT_RUN and all_of([]).word == NOT_RUN
    assert over_studies([holds, fails]).word == DEPENDS
    assert over_studies([holds, few]).word == UNDECIDED


def test_equal_values_are_no_detectable_difference_from_four_seeds_on():
    assert verdict(0.0, np.nan, np.nan, 5, alpha=0.05).word == NO_DIFFERENCE
    assert verdict(0.0, np.nan, np.nan, 1, alpha=0.05).word == NOT_ESTIMABLE
    assert verdict(0.5, np.nan, np.nan, 5, alpha=0.05).word == NOT_ESTIMABLE


def test_the_paired_interval_agrees_with_pitmans_correlation_test():
    """It excludes 1 exactly where a + b and a − b are correlated (Pitman 1939)."""
    random = np.random.default_rng()
    both = set()
    for _ in range(200):
        n = int(random.integers(4, 12))
        a, b = random.normal(size=(2, n)) * random.uniform(0.2, 5, size=(2, 1))
        b = b + random.uniform(-1, 1) * a
        found = ratio_of_deviations(a, b, paired=True)
        significant = stats.pearsonr(a + b, a - b).pvalue < 0.05
        assert (found.low > 1 or found.high < 1) == significant
        both.add(significant)
        swapped = ratio_of_deviations(b, a, paired=True)
        np.testing.assert_allclose(
            [swapped.ratio, swapped.low, swapped.high],
            [1 / found.ratio, 1 / found.high, 1 / found.low],
        )
    assert both == {True, False}


def test_the_unpaired_interval_agrees_with_fishers_test():
    random = np.random.default_rng()
    for _ in range(50):
        a, b = random.normal(size=6), random.uniform(0.1, 9) * random.normal(size=9)
        found = ratio_of_deviations(a, b, paired=False)
        ratio = np.var(a, ddof=1) / np.var(b, ddof=1)
        p = 2 * min(stats.f.sf(ratio, 5, 8), stats.f.cdf(ratio, 5, 8))
        assert (found.low > 1 or found.high < 1) == (p < 0.05)


@pytest.mark.parametrize(
    ("a", "b"), [([1.0], [2.0]), ([1, 1, 1, 1], [1, 2, 3, 4]), ([1, np.nan, 2, 3], [1, 2, 3, 4])]
)
def test_what_has_no_spread_is_not_estimable(a, b):
    assert np.isnan(ratio_of_deviations(a, b, paired=True).ratio)
    with pytest.raises(ValueError, match="equally long"):
        ratio_of_deviations([1, 2, 3], [1, 2], paired=True)
