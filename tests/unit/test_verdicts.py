"""Verdicts are read off the interval alone; the undecided say how many seeds would decide."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics import verdicts
from muonlab.statistics.hypothesis_tests import minimum_detectable_difference, paired_t
from muonlab.statistics.verdicts import flipped, in_words, seeds_needed, verdict

LIMITS = st.floats(-10, 10, allow_nan=False)
SIDES = st.sampled_from(["", "lower", "higher"])
SMALLEST = st.none() | st.floats(1e-3, 5)


@settings(deadline=None)
@given(
    ends=st.tuples(LIMITS, LIMITS), n=st.integers(0, 12), smallest=SMALLEST, better=SIDES,
    alpha=st.floats(0.001, 0.3),
)  # fmt: skip
def test_a_verdict_never_contradicts_its_interval(ends, n, smallest, better, alpha):
    low, high = sorted(ends)
    found = verdict((low + high) / 2, low, high, n, alpha=alpha, smallest=smallest, better=better)
    outside = low > 0 or high < 0
    inside = smallest is not None and max(abs(low), abs(high)) < smallest
    if n < 4:
        assert found.word == ("not estimable" if n < 2 else "no verdict")
        return
    assert (found.word == "equivalent") == inside
    assert (found.word in verdicts.DIFFERENT) == (outside and not inside)
    assert (found.word == "undecided") == (not outside and not inside)
    if found.word in ("better", "worse"):
        assert better and (found.word == "better") == ((high < 0) == (better == "lower"))
    if found.word in ("lower", "higher"):
        assert not better and (found.word == "lower") == (high < 0)
    swapped = verdict(
        -(low + high) / 2, -high, -low, n, alpha=alpha, smallest=smallest, better=better
    )
    assert swapped.word == flipped(found.word)
    assert swapped.needs_n == found.needs_n or math.isnan(found.needs_n)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(4, 12), alpha=st.floats(0.001, 0.2),
    smallest=SMALLEST, shift=st.floats(-1, 1),
)  # fmt: skip
def test_an_undecided_comparison_needs_more_seeds_than_it_has(seed, n, alpha, smallest, shift):
    d = np.random.default_rng(seed).normal(shift, 1, n)
    test = paired_t(d, np.zeros(n), alpha)
    got = verdict(test.difference, test.low, test.high, n, alpha=alpha, smallest=smallest)
    given_sd = verdict(
        test.difference, test.low, test.high, n, np.std(d, ddof=1), alpha=alpha, smallest=smallest
    )
    assert got.word == given_sd.word
    if got.word == "undecided":
        assert got.needs_n > n
        assert got.needs_n == pytest.approx(given_sd.needs_n, abs=1)
        assert "needs n" in str(got)
    else:
        assert math.isnan(got.needs_n)


@settings(deadline=None, max_examples=60)
@given(effect=st.floats(0.1, 8), alpha=st.floats(0.0005, 0.3), power=st.floats(0.5, 0.95))
def test_the_seeds_needed_are_the_fewest_with_that_power(effect, alpha, power):
    n = seeds_needed(effect, 1.0, alpha, power)
    assert minimum_detectable_difference(1.0, n, alpha, power) <= effect * (1 + 1e-9)
    if n > verdicts.MIN_SEEDS:
        assert minimum_detectable_difference(1.0, n - 1, alpha, power) > effect * (1 - 1e-9)
    assert seeds_needed(-3 * effect, 3.0, alpha, power) == n


def test_the_seeds_needed_have_the_power_in_simulated_studies():
    rng = np.random.default_rng(0)
    for effect, alpha in ((1.0, 0.05), (1.5, 0.01), (0.6, 0.05)):
        n = seeds_needed(effect, 1.0, alpha)
        found = []
        for size in (n - 1, n):
            t = stats.ttest_1samp(rng.normal(effect, 1, (20000, size)), 0, axis=1).pvalue
            found.append((t < alpha).mean())
        assert found[0] < 0.81 and found[1] > 0.79


def test_small_large_and_impossible_numbers_of_seeds():
    assert seeds_needed(100.0, 1.0, 0.05) == 4  # fewer give no verdict
    assert seeds_needed(1e300, 1e-300, 0.05) == 4
    assert seeds_needed(0.5, 1.0, 0.05) == 34  # Cohen (1988): a medium effect
    assert seeds_needed(1e-9, 1.0, 0.05) == math.inf and seeds_needed(0.0, 1.0) == math.inf
    for sd in (0.0, math.nan, math.inf):
        assert math.isnan(seeds_needed(0.1, sd))
    few = [seeds_needed(0.3, 1.0, 0.05 / m) for m in (1, 3, 10, 100)]
    assert few == sorted(set(few))  # a larger family asks for more


def test_words_as_they_are_printed():
    undecided = verdict(0.1, -0.2, 0.4, 5, alpha=0.05, smallest=0.1, better="lower")
    assert str(undecided) == f"undecided (needs n ≈ {verdicts.rounded_n(undecided.needs_n)})"
    assert str(verdict(0.0, -1, 1, 5, alpha=0.05)) == "undecided (needs n > 1,000,000)"
    assert str(verdict(-1, -2, -0.5, 3, alpha=0.05, better="lower")) == "no verdict (n = 3)"
    assert str(verdict(-1, -2, -0.5, 5, alpha=0.05, better="lower")) == "better"
    assert in_words("equivalent", 5.0) == "equivalent"
    rounded = {4: "4", 12: "12", 99: "99", 101: "110", 130: "130", 1234: "1,300", 123456: "130,000"}
    assert {n: verdicts.rounded_n(n) for n in rounded} == rounded


def test_what_cannot_be_estimated_says_why():
    nothing = verdict(math.nan, math.nan, math.nan, 5, alpha=0.05, reason="2 of 5 runs diverged.")
    assert (nothing.word, nothing.reason) == ("not estimable", "2 of 5 runs diverged.")
    assert verdict(1.0, math.nan, math.nan, 5, alpha=0.05).reason == verdicts.NO_INTERVAL
    for n in (0, 1, math.nan):
        few = verdict(1.0, math.nan, math.nan, n, alpha=0.05)
        assert (few.word, few.reason) == ("not estimable", verdicts.TOO_FEW)
    # A limit may be infinite: a width that is a lower bound has no upper one.
    assert verdict(2.0, 1.0, math.inf, 5, alpha=0.05, better="higher").word == "better"
    open_ended = verdict(2.0, -1.0, math.inf, 5, alpha=0.05)
    assert open_ended.word == "undecided" and math.isnan(open_ended.needs_n)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.0}, "alpha"),
        ({"better": "up"}, "better must be 'lower', 'higher' or ''"),
        ({"smallest": 0.0}, "smallest difference of interest must be positive"),
        ({"low": 2.0}, "lies above its high end"),
    ],
)
def test_mistakes_are_refused(options, message):
    good = {"difference": 0.0, "low": -1.0, "high": 1.0, "n": 5, "alpha": 0.05}
    with pytest.raises(ValueError, match=message):
        verdict(**good | options)
