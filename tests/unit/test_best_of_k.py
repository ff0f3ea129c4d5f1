"""Expected best of k trials: closed forms, enumeration, simulation, diverged trials."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.statistics.bootstrap import percentile_interval
from muonlab.tuning.budget import best_of_k, best_of_k_table, best_weights, expected_best

SCORES = st.lists(st.floats(-50, 50), min_size=1, max_size=7)


@given(scores=SCORES, data=st.data())
def test_without_replacement_is_the_mean_over_all_subsets(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    want = np.mean([min(subset) for subset in itertools.combinations(scores, k)])
    assert expected_best(scores, [k])[0] == pytest.approx(want, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(-50, 50), min_size=1, max_size=5), k=st.integers(1, 5))
def test_with_replacement_is_the_mean_over_all_draws(scores, k):
    want = np.mean([min(draw) for draw in itertools.product(scores, repeat=k)])
    assert expected_best(scores, [k], replace=True)[0] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("n", [1, 7, 64, 1000])
def test_weights_are_the_closed_forms_and_sum_to_one(n):
    ks = sorted({1, min(2, n), (n + 1) // 2, n})
    for k, row in zip(ks, best_weights(n, ks), strict=True):
        want = [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)]
        np.testing.assert_allclose(row, want, rtol=1e-9, atol=1e-300)
        assert row.sum() == pytest.approx(1)
    for row in best_weights(n, [1, 5, 3 * n], replace=True):
        assert row.sum() == pytest.approx(1) and (row >= 0).all()


def test_it_is_unbiased_for_the_best_of_k_of_a_uniform_score_and_dodge_s_is_not():
    # E[min of k] = 1 / (k + 1) for uniform scores, whatever the number of trials seen.
    k, samples = 10, np.random.default_rng(0).random((4000, 12))
    without = np.mean([expected_best(x, [k])[0] for x in samples])
    replaced = np.mean([expected_best(x, [k], replace=True)[0] for x in samples])
    sd = np.std([expected_best(x, [k])[0] for x in samples]) / np.sqrt(len(samples))
    assert abs(without - 1 / (k + 1)) < 4 * sd
    assert replaced > 1 / (k + 1) + 10 * sd


@given(scores=st.lists(st.floats(-50, 50), min_size=2, max_size=12), replace=st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_larger_budget_never_expects_worse(scores, replace):
    found = best_of_k(scores, replace=replace, resamples=20)
    assert [b.k for b in found] == list(range(1, len(scores) + 1))
    assert (np.diff([b.expected for b in found]) <= 1e-9).all()
    assert found[0].expected == pytest.approx(np.mean(scores), abs=1e-9)
    assert found[0].sd == pytest.approx(np.std(scores), abs=1e-6)
    assert all(not b.low > b.high and b.p_diverged == 0 for b in found)
    if not replace:
        assert found[-1].expected == pytest.approx(min(scores)) == found[-1].median
        assert found[-1].sd == pytest.approx(0, abs=1e-6)


def test_the_band_covers_the_truth_at_small_k():
    # Exponential scores: E[min of 2] = 1/2.
    samples = np.random.default_rng(1).exponential(size=(300, 30))
    bands = [best_of_k(x, [2], resamples=400, seed=i)[0] for i, x in enumerate(samples)]
    coverage = np.mean([b.low < 0.5 < b.high for b in bands])
    assert 0.88 < coverage <= 0.99


@pytest.mark.parametrize("replace", [False, True])
def test_diverged_trials_make_the_expectation_infinite_while_all_k_may_diverge(replace):
    scores = [0.3, math.nan, 0.1, math.inf]
    found = best_of_k(scores, replace=replace)
    want = (2 / 4, 2 / 12, 0, 0) if not replace else tuple(0.5**k for k in (1, 2, 3, 4))
    assert [b.p_diverged for b in found] == pytest.approx(want)
    for best in found:
        assert math.isinf(best.expected) == (best.p_diverged > 0)
        assert math.isnan(best.sd) == (best.p_diverged > 0)
        assert not math.isnan(best.low) and not math.isnan(best.high)
    # P(the best of two is .1) is 3/6 without replacement and 7/16 with it.
    assert found[1].median == (0.3 if replace else 0.1)
    if not replace:
        assert found[2].expected == pytest.approx(0.1 * 3 / 4 + 0.3 / 4)


def test_all_diverged_one_trial_and_none():
    assert all(
        math.isinf(v)
        for b in best_of_k([math.inf] * 3)
        for v in (b.expected, b.low, b.high, b.median)
    )
    [one] = best_of_k([0.4])
    assert one.expected == 0.4 and math.isnan(one.low) and math.isnan(one.high)
    assert best_of_k([]) == []


def test_bands_are_a_function_of_the_seed():
    scores = np.random.default_rng(0).normal(size=9)
    assert best_of_k(scores, seed=1) == best_of_k(scores, seed=1)
    assert best_of_k(scores, seed=1)[2].low != best_of_k(scores, seed=2)[2].low


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [3]), r"at most the number of trials \(2\), not \[3\]"),
        (([1.0, 2.0], [0]), "k must be at least 1"),
        (([1.0, -math.inf], [1]), "must not be −inf"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        best_of_k(*arguments)


def test_the_table_has_a_row_per_arm_and_budget():
    table = best_of_k_table({"adamw": [1.0, 2.0], "muon": [0.5]}, resamples=10)
    assert list(table["arm"]) == ["adamw", "adamw", "muon"] and list(table["k"]) == [1, 2, 1]


@given(values=st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=60))
def test_percentiles_are_values_of_the_sample_with_enough_below_them(values):
    low, high = percentile_interval(values, alpha=0.1)
    finite = all(map(math.isfinite, values))
    if finite and max(values) - min(values) <= 1e-12 * max(map(abs, values)):
        assert math.isnan(low) and math.isnan(high)
        return
    for quantile, end in ((0.05, float(low)), (0.95, float(high))):
        below = sum(v <= end for v in values) / len(values)
        strictly = sum(v < end for v in values) / len(values)
        assert end in values and below >= quantile - 1e-9 and strictly < quantile + 1e-9


def test_percentiles_of_columns_and_of_nan():
    values = np.array([[1.0, math.nan], [math.inf, 2.0], [3.0, 3.0]])
    low, high = percentile_interval(values, alpha=0.5)
    same = percentile_interval([[math.inf, 2.0]] * 3)
    assert same[0][0] == same[1][0] == math.inf and np.isnan([end[1] for end in same]).all()
    assert (low[0], high[0]) == (1.0, math.inf) and np.isnan([low[1], high[1]]).all()
