"""Relations of an outcome to a dose: each arm left out, simultaneous intervals, verdicts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics.dose_response import dose_response
from muonlab.statistics.relation import (
    FLAT,
    HOLDS,
    ONE_ARM,
    judged,
    leave_one_out,
    simultaneous,
)
from muonlab.statistics.verdicts import NO_VERDICT, NOT_ESTIMABLE, UNDECIDED

DOSES = np.array([0.0, 0.1, 0.2, 0.3, 0.4])


def outcomes(slope, n=6, noise=0.01, seed=0, doses=DOSES):
    generator = np.random.default_rng(seed)
    level = generator.uniform(2, 4, (n, 1))
    return level + slope * np.asarray(doses) + noise * generator.normal(size=(n, len(doses)))


def verdict(doses, y, smallest=None, alpha=0.05):
    span = float(np.ptp(doses))
    return judged(dose_response(doses, y, alpha), *leave_one_out(doses, y), smallest, span)[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 6), m=st.integers(4, 7), each=st.booleans())
def test_each_arm_is_left_out_in_turn(seed, n, m, each):
    generator = np.random.default_rng(seed)
    doses = generator.uniform(0, 1, (n, m) if each else m)
    y = generator.normal(size=(n, m))
    slope, rho = leave_one_out(doses, y)
    for found, statistic in ((slope, "slope"), (rho, "statistic")):
        function = stats.linregress if statistic == "slope" else stats.spearmanr
        rows = list(zip(np.broadcast_to(doses, y.shape), y, strict=True))
        means = []
        for j in range(m):
            parts = [(np.delete(a, j), np.delete(b, j)) for a, b in rows]
            means.append(np.mean([getattr(function(*part), statistic) for part in parts]))
        whole = np.mean([getattr(function(*row), statistic) for row in rows])
        # Ranks that cancel leave a rounding error, which is 0.
        means, whole = [0.0 if abs(v) < 1e-12 else v for v in means], whole * (abs(whole) > 1e-12)
        assert (found.low, found.high) == pytest.approx((min(means), max(means)))
        assert abs(means[found.moved_by] - whole) == pytest.approx(
            max(abs(v - whole) for v in means)
        )
        assert found.turned_by == tuple(j for j, v in enumerate(means) if v * whole <= 0)


def test_a_line_holds_and_one_far_arm_does_not():
    assert verdict(DOSES, outcomes(1.0)) == HOLDS
    assert verdict(DOSES, outcomes(-1.0)) == HOLDS
    y = outcomes(-0.05, noise=0.001)
    y[:, -1] += 1.0  # the four others fall
    assert leave_one_out(DOSES, y)[0].moved_by == 4
    assert verdict(DOSES, y) == ONE_ARM
    y = outcomes(-0.5, noise=0.001, doses=(d := np.array([0.0, 0.01, 0.02, 0.03, 1.0])))
    y[:, -1] += 2.0
    slope, rho = leave_one_out(d, y)
    assert slope.turned_by == (4,) and slope.moved_by == 4
    assert dose_response(d, y).slope_low > 0


def test_a_relation_that_rests_on_one_arm_is_said_to():
    doses = np.array([0.0, 0.1, 0.2, 0.3, 3.0])
    y = outcomes(0.0, noise=0.001, doses=doses)
    y += np.array([0.0, 0.02, 0.01, -0.01, 1.0])
    assert dose_response(doses, y).slope_low > 0 and dose_response(doses, y).rho > 0
    assert verdict(doses, y) == ONE_ARM


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), slope=st.sampled_from([-1, -0.1, 0, 0.1, 1]))
def test_the_sign_and_the_order_of_the_arms_change_no_verdict(seed, slope):
    y = outcomes(slope, n=4, noise=0.05, seed=seed)
    order = np.random.default_rng(seed).permutation(len(DOSES))
    first = verdict(DOSES, y, 0.02)
    assert verdict(DOSES[order], y[:, order], 0.02) == first == verdict(DOSES, -y, 0.02)
    assert verdict(-DOSES, y, 0.02) == first


def test_simultaneous_intervals_hold_together():
    """With m independent relations without any trend, some interval excludes 0 in at most 5 %."""
    m, trials, n = 6, 400, 5
    wrong = {"alone": 0, "together": 0}
    for trial in range(trials):
        y = [outcomes(0.0, n, noise=1.0, seed=m * trial + k) for k in range(m)]
        for kind, level in (("alone", 0.05), ("together", simultaneous(0.05, m))):
            found = [dose_response(DOSES, each, level) for each in y]
            wrong[kind] += any(f.slope_low > 0 or f.slope_high < 0 for f in found)
    nominal = 1 - (1 - 0.05 / m) ** m
    assert abs(wrong["together"] / trials - nominal) < 4 * np.sqrt(nominal * 0.95 / trials)
    assert wrong["alone"] / trials > 0.15
    assert simultaneous(0.05, 1) == 0.05 and simultaneous(0.05, 0) == 0.05


def test_flat_needs_the_whole_interval_within_the_smallest_difference():
    still = outcomes(0.001, noise=0.001)
    assert verdict(DOSES, still, 0.05) == FLAT
    assert verdict(DOSES, still) != FLAT, "without a declared difference nothing is flat"
    assert verdict(DOSES, outcomes(1.0), 0.05) == HOLDS
    assert verdict(DOSES, outcomes(0.0, noise=1.0), 0.05) == UNDECIDED


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_seeds_give_no_verdict(n):
    found = verdict(DOSES, outcomes(1.0, n=n), 0.05)
    assert found == (NOT_ESTIMABLE if n == 1 else NO_VERDICT)


def test_a_diverged_run_gives_no_verdict_and_its_arm_can_be_left_out():
    y = outcomes(1.0)
    y[2, 1] = np.inf
    assert verdict(DOSES, y) == NOT_ESTIMABLE
    slope, _ = leave_one_out(DOSES, y)
    assert np.isnan(slope.low) and slope.moved_by is None


def test_opposite_signs_of_slope_and_ranks_are_undecided():
    doses = np.array([0.0, 0.1, 0.2, 0.3, 5.0])
    y = outcomes(0.0, noise=1e-4, doses=doses) + np.array([0.9, 0.8, 0.7, 0.2, 0.75])
    response = dose_response(doses, y)
    assert response.slope_low > 0 and response.rho == pytest.approx(-0.7)
    assert verdict(doses, y) == UNDECIDED


def test_three_arms_have_slopes_of_two_and_no_ranks():
    y = outcomes(1.0, doses=DOSES[:3])
    slope, rho = leave_one_out(DOSES[:3], y)
    assert slope.low == pytest.approx(1.0, abs=0.2) and slope.turned_by == ()
    assert np.isnan(rho.low) and rho.turned_by == () and verdict(DOSES[:3], y) == HOLDS


def test_an_arm_that_alone_differs_in_dose_turns_the_relation():
    doses = np.array([0.0, 0.0, 0.0, 1.0])
    y = outcomes(1.0, doses=doses)
    assert leave_one_out(doses, y)[0].turned_by == (3,)
    assert verdict(doses, y) == ONE_ARM
