"""Rolling variances, spikes, rates and milestones against pandas, scipy and naive loops."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from muonlab.measure.stability import (
    convergence_rate,
    end_variance,
    end_variation,
    first_at_or_after,
    first_crossings,
    gradient_alarms,
    loss_spikes,
    mean_over_steps,
    rolling_variance,
    stability,
    window_of,
)

finite = st.floats(-100, 100, allow_subnormal=False)
series = st.integers(0, 40).flatmap(lambda n: arrays(float, n, elements=finite))


def a_curve(seed, n=200):
    """A falling loss with noise: (steps, losses)."""
    rng = np.random.default_rng(seed)
    steps = np.arange(n) * 10
    return steps, 3 * np.exp(-steps / 900) + 0.05 * rng.standard_normal(n) + 1


@settings(deadline=None)
@given(series, st.integers(2, 12))
def test_rolling_variance_is_pandas(values, window):
    expected = pd.Series(values).rolling(window).var().to_numpy()
    assert rolling_variance(values, window) == pytest.approx(
        expected, rel=1e-6, abs=1e-9, nan_ok=True
    )


def test_rolling_variance_of_small_noise_on_a_large_mean():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(60)
    # By differences of sums of squares this variance would be lost to rounding.
    found = rolling_variance(1e6 + 1e-3 * noise, 50)
    assert found[-1] == pytest.approx(1e-6 * np.var(noise[-50:], ddof=1), rel=1e-4)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_broken_value_spoils_its_own_windows_only(broken):
    values = np.arange(30.0)
    values[10] = broken
    found = rolling_variance(values, 5)
    assert np.isnan(found[:4]).all() and np.isnan(found[10:15]).all()
    assert found[[*range(4, 10), *range(15, 30)]] == pytest.approx(2.5)


def naive_spikes(losses, window, sigmas):
    found = []
    for i, loss in enumerate(losses):
        past = losses[max(i - window, 0) : i]
        full = len(past) == window and all(map(math.isfinite, past))
        found.append(full and loss > np.mean(past) + sigmas * np.std(past, ddof=1))
    return found


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.sampled_from([1.0, 3.0]))
def test_spikes_are_those_of_a_loop(seed, window, sigmas):
    rng = np.random.default_rng(seed)
    losses = rng.standard_t(2, 60)
    losses[rng.integers(60, size=2)] = rng.choice([math.nan, math.inf], size=2)
    assert loss_spikes(losses, window, sigmas).tolist() == naive_spikes(losses, window, sigmas)


def test_a_planted_spike_is_found_and_a_falling_curve_has_none():
    steps, losses = a_curve(1)
    smooth = 3 * np.exp(-steps / 900) + 1
    assert not loss_spikes(smooth).any()
    losses[120] += 2
    assert loss_spikes(losses)[120]
    assert loss_spikes(losses).sum() <= 3


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, 0.0, -7.7])
def test_equal_losses_have_no_spike(value):
    assert not loss_spikes(np.full(200, value)).any()


def test_infinity_after_a_finite_window_is_a_spike_and_nan_is_not():
    losses = np.linspace(2, 1, 60)
    losses[52], losses[53] = math.inf, 100.0
    found = loss_spikes(losses)
    assert found[52] and not found[53]  # behind it no window is finite
    losses[52] = math.nan
    assert not loss_spikes(losses).any()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 80))
def test_the_rate_is_that_of_linear_regression(seed, n):
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.choice(100_000, n, replace=False))
    losses = rng.lognormal(size=n)
    slope, error = convergence_rate(steps, losses)
    expected = scipy.stats.linregress(steps, np.log(losses))
    assert slope == pytest.approx(expected.slope, rel=1e-9)
    assert error == pytest.approx(expected.stderr, rel=1e-6)


def test_an_exponential_has_its_rate_exactly_and_no_error():
    steps = np.arange(0, 1000, 10)
    slope, error = convergence_rate(steps, 5 * np.exp(-2e-3 * steps))
    assert slope == pytest.approx(-2e-3, rel=1e-12) and error < 1e-15


def test_losses_without_a_logarithm_are_left_out_of_the_rate():
    steps, losses = a_curve(2)
    some = losses.copy()
    some[[3, 50, 70, 90]] = [math.nan, math.inf, 0.0, -1.0]
    kept = np.isfinite(some) & (some > 0)
    assert convergence_rate(steps, some) == convergence_rate(steps[kept], losses[kept])


def test_too_few_points_have_no_rate():
    assert all(map(math.isnan, convergence_rate([], [])))
    assert all(map(math.isnan, convergence_rate([5], [1.0])))
    slope, error = convergence_rate([0, 10], [math.e, 1.0])
    assert slope == pytest.approx(-0.1) and math.isnan(error)


def test_milestones_are_first_crossings_and_infinite_if_never():
    steps = [0, 10, 20, 30, 40]
    losses = [3.0, math.nan, 2.0, 2.5, 1.0]
    found = first_crossings(steps, losses, [5.0, 3.0, 2.0, 1.9, 0.5])
    assert found.tolist() == [0, 0, 20, 40, math.inf]
    assert (found * 512).tolist()[2] == 10240
    assert first_crossings([], [], [1.0]).tolist() == [math.inf]
    assert first_crossings(steps, losses, []).tolist() == []
    assert first_crossings(steps, [math.nan] * 5, [1.0]).tolist() == [math.inf]


@settings(deadline=None)
@given(series, st.lists(finite, max_size=5))
def test_milestones_are_those_of_a_loop(losses, milestones):
    steps = np.arange(len(losses)) * 7
    expected = [
        next((s for s, loss in zip(steps, losses, strict=True) if loss <= m), math.inf)
        for m in milestones
    ]
    assert first_crossings(steps, losses, milestones).tolist() == expected


def test_the_mean_over_steps_weighs_by_steps_and_not_by_records():
    assert mean_over_steps([0, 1, 2, 10], [4.0, 4.0, 2.0, 2.0]) == pytest.approx((4 + 3 + 16) / 10)
    assert math.isnan(mean_over_steps([3], [1.0]))
    assert math.isnan(mean_over_steps([0, 1], [1.0, math.nan]))


def test_gradient_alarms_at_and_beyond_their_edges():
    norms = [1e-7, 9e-8, 0.0, 1e3, 1001, math.inf, math.nan, 1.0]
    assert gradient_alarms(norms) == {"vanishing": 2, "exploding": 2, "nonfinite": 2}


def test_a_run_in_one_record():
    steps, losses = a_curve(3)
    norms = np.abs(np.random.default_rng(4).standard_normal(200)) + 0.5
    norms[7] = 2000
    found = stability(steps, losses, norms, window=50)
    variance = pd.Series(losses).rolling(50).var()
    assert found["loss_variance"] == pytest.approx(variance.median())
    assert found["loss_variance_end"] == pytest.approx(variance.iloc[-1])
    assert found["gradient_norm_variance_end"] == pytest.approx(norms[-50:].var(ddof=1))
    assert found["gradients_exploding"] == 1 and found["nonfinite_losses"] == 0
    assert found["convergence_rate"] < -5 * found["convergence_rate_error"] < 0


@pytest.mark.parametrize("n", [20, 60, 200, 1000])
def test_windows_scale_with_the_run(n):
    rng = np.random.default_rng(n)
    values = rng.standard_normal(n)
    window = max(5, round(0.05 * n))
    assert window_of(n) == window
    variance = pd.Series(values).rolling(window).var()
    assert end_variance(values) == pytest.approx(variance[-round(0.2 * n) :].median())
    last = (values + 3)[-max(5, round(0.2 * n)) :]
    assert end_variation(values + 3) == pytest.approx(np.std(last, ddof=1) / np.mean(last))
    found = stability(np.arange(n), values, np.abs(values))
    assert found["loss_variance"] == pytest.approx(variance.median())


def test_the_end_of_a_short_or_broken_series_is_not_estimable():
    for values in ([], [1.0, 2.0, 3.0, 4.0], [1.0] * 9 + [math.nan]):
        assert math.isnan(end_variance(values)) and math.isnan(end_variation(values))
    assert math.isnan(end_variation([9.0, -1.0, 1.0, -1.0, 1.0, 0.0]))
    # What is broken before the end does not matter there.
    assert end_variation([math.inf] + [1.0, 3.0] * 5) == pytest.approx(
        np.std([1, 3, 1, 3, 3], ddof=1) / 2.2
    )


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.floats(0.01, 1))
def test_a_loss_is_read_at_a_record_and_never_between_two(gaps, share):
    steps = np.cumsum(gaps).astype(float)
    step, value = first_at_or_after(steps, -steps, share)
    assert value == -step and step in steps
    assert step >= share * steps[-1] * (1 - 1e-9)
    assert not any(share * steps[-1] <= s < step for s in steps)


def test_a_short_and_an_empty_run_have_counts_but_no_variances():
    for n in (0, 3):
        found = stability(range(n), [1.0] * n, [math.nan] * n)
        assert found["loss_spikes"] == 0 and found["gradients_nonfinite"] == n
        assert math.isnan(found["loss_variance"]) and math.isnan(found["gradient_norm_variance"])


def test_bad_series_are_refused():
    with pytest.raises(ValueError, match="one value for each step"):
        convergence_rate([0, 1], [1.0])
    with pytest.raises(ValueError, match="at least 2 records"):
        rolling_variance([1.0, 2.0], 1)


def test_series_are_measured_without_torch():
    code = "import sys, muonlab.measure.stability; assert 'torch' not in sys.modules"
    scripts = str(Path(__file__).parents[2] / "workflow_scripts")
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": scripts})
