"""Speed-ups: inverted curves, their bootstrap over seeds, losses that were never reached."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.statistics.speedup import WARNING, speed_up, speed_up_table, time_to

STEPS = np.arange(0.0, 1001.0, 50.0)


def falling(rate, steps=STEPS):
    """A straight fall from 4, so that linear interpolation is exact."""
    return 4 - rate * steps / 1000


def naive_time(x, losses, target):
    lowest = math.inf
    for i, loss in enumerate(losses):
        loss = loss if math.isfinite(loss) else math.inf
        if loss <= target:
            if i == 0 or math.isinf(lowest):
                return x[i]
            return x[i - 1] + (lowest - target) / (lowest - loss) * (x[i] - x[i - 1])
        lowest = min(lowest, loss)
    return math.inf


@settings(max_examples=200, deadline=None)
@given(
    losses=st.lists(
        st.one_of(st.floats(0, 10), st.sampled_from([math.inf, math.nan])), min_size=1, max_size=9
    ),
    target=st.floats(0, 10),
)
def test_the_time_to_a_loss_is_the_first_crossing_of_the_running_minimum(losses, target):
    x = np.cumsum(np.arange(1.0, len(losses) + 1))
    assert time_to(x, losses, target) == pytest.approx(naive_time(x, losses, target))


def test_the_time_to_a_loss_of_many_curves_at_once():
    losses = np.random.default_rng(0).uniform(0, 5, (4, 3, 8))
    targets = np.random.default_rng(1).uniform(0, 5, (4, 3))
    found = time_to(np.arange(8.0), losses, targets)
    for i in np.ndindex(4, 3):
        assert found[i] == pytest.approx(naive_time(np.arange(8.0), losses[i], targets[i]))


@settings(max_examples=40, deadline=None)
@given(ratio=st.floats(0.2, 0.99), n=st.integers(1, 6), shift=st.floats(-1, 1))
def test_a_known_ratio_is_found(ratio, n, shift):
    # The other arm ends where the baseline is at `ratio` of its steps.
    losses = np.stack([falling(2) + shift * i for i in range(n)])
    finals = np.array([falling(2, ratio * 1000) + shift * i for i in range(n)])
    found = speed_up(STEPS, losses, 1000, finals, resamples=50)
    assert found.ratio == pytest.approx(ratio) and found.reached == 1 and found.warning == ""
    assert found.measurable == 1
    # The seeds differ by levels that both arms share, if at all: no spread, no interval.
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_longer_baseline_shows_a_larger_ratio_and_the_warning():
    steps = np.arange(0.0, 2001.0, 50.0)
    losses = np.stack([falling(2, steps)] * 3)
    found = speed_up(steps, losses, 1000, [falling(2, 1600)] * 3)
    assert found.ratio == pytest.approx(1.6) and found.measurable == 2
    assert speed_up(steps, losses, 1000, [falling(2, 1601)] * 3).warning == WARNING
    assert speed_up(steps, losses, 1000, [falling(2, 1599)] * 3).warning == ""


def test_a_loss_that_was_never_reached_takes_infinitely_long():
    losses = np.stack([falling(1)] * 4)
    found = speed_up(STEPS, losses, 800, [2.0] * 4)
    assert math.isinf(found.ratio) and math.isinf(found.low) and math.isinf(found.high)
    assert found.reached == 0 and found.measurable == 1.25 and found.warning == WARNING


def test_where_only_some_resamples_get_there_the_upper_limit_is_infinite():
    generator = np.random.default_rng(2)
    losses = falling(2) + generator.normal(0, 0.3, (6, 1))
    finals = np.full(6, losses[:, -1].mean() + 0.02)
    found = speed_up(STEPS, losses, 1000, finals)
    assert math.isfinite(found.ratio) and math.isfinite(found.low) and math.isinf(found.high)
    assert 0.2 < found.reached < 0.9


def test_a_diverged_baseline_never_gets_there_and_a_diverged_other_is_no_speed_up():
    losses = np.stack([falling(2)] * 4)
    losses[1, 10:] = np.nan
    found = speed_up(STEPS, losses, 1000, [falling(2, 900)] * 4)
    # Only resamples without that seed get there: (3/4)⁴ of them.
    assert math.isinf(found.ratio) and found.reached == pytest.approx(0.75**4, abs=0.05)
    other = speed_up(STEPS, np.stack([falling(2)] * 2), 1000, [2.5, np.inf])
    assert other.ratio == 0 and other.warning == ""


def test_the_interval_covers_the_truth_with_many_seeds():
    hits = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        level = generator.normal(0, 0.2, (20, 1))
        losses = falling(2) + level + generator.normal(0, 0.05, (20, 1))
        finals = falling(2, 700) + level[:, 0] + generator.normal(0, 0.05, 20)
        found = speed_up(STEPS, losses, 1000, finals, resamples=400, seed=seed)
        hits.append(found.low <= 0.7 <= found.high)
    assert 0.86 < np.mean(hits) < 0.99


def test_pairing_narrows_the_interval():
    generator = np.random.default_rng(0)
    level, noise = generator.normal(0, 0.3, 8), generator.normal(0, 0.001, 8)
    losses, finals = falling(2) + level[:, None], falling(2, 700) + level + noise
    paired = speed_up(STEPS, losses, 1000, finals)
    broken = speed_up(STEPS, losses, 1000, np.roll(finals, 3))
    assert paired.high - paired.low < 0.005 < 0.05 < broken.high - broken.low


def test_seconds_may_differ_from_seed_to_seed():
    seconds = STEPS * np.array([[1.0], [2.0], [3.0]])
    losses = np.stack([falling(2)] * 3)
    found = speed_up(seconds, losses, [500.0, 1000.0, 1500.0], [falling(2, 600)] * 3)
    assert found.ratio == pytest.approx(1200 / 1000) and found.measurable == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((STEPS, np.ones(21), 1.0, [1.0]), r"shape \(n, m\)"),
        ((STEPS, np.ones((2, 21)), 1.0, [1.0]), r"shape \(n, m\)"),
        ((STEPS[1:], np.ones((2, 21)), 1.0, [1.0, 1.0]), "does not fit the losses"),
        ((STEPS, np.ones((2, 21)), 0.0, [1.0, 1.0]), "must be positive"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        speed_up(*arguments)


def curves():
    rows = []
    for arm, rate, pace in (("adamw", 2.0, 1.0), ("muon", 3.0, 1.2)):
        for seed in (3, 1, 2):
            for step in range(0, 1001, 50):
                loss = 4 + 0.1 * seed - rate * step / 2000
                row = {"arm": arm, "seed": seed, "step": step, "loss": loss}
                rows.append(row | {"seconds": pace * step * (1 + 0.1 * seed)})
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_the_table_has_a_row_per_pair_and_unit():
    pairs = [("adamw", "muon"), ("muon", "adamw")]
    found = speed_up_table(curves(), pairs, ("step", "seconds"), resamples=50)
    by = found.set_index(["arm", "unit"])
    assert by.loc[("adamw", "step"), "ratio"] == pytest.approx(2 / 3)
    assert by.loc[("adamw", "seconds"), "ratio"] == pytest.approx(2 / 3 * 1.2)
    assert math.isinf(by.loc[("muon", "step"), "ratio"])
    assert by.loc[("muon", "seconds"), "measurable"] == pytest.approx(1 / 1.2)


def test_a_run_that_stopped_early_counts_as_never_there():
    table = curves()
    stopped = table[~((table["arm"] == "muon") & (table["seed"] == 2) & (table["step"] > 300))]
    found = speed_up_table(stopped, [("adamw", "muon")]).iloc[0]
    assert math.isinf(found["ratio"]) and 0 < found["reached"] < 1
    twice = pd.concat([table, table.iloc[:1]])
    with pytest.raises(ValueError, match="two rows for one seed and step"):
        speed_up_table(twice, [("adamw", "muon")])
    fewer = table[~((table["arm"] == "muon") & (table["seed"] == 2))]
    with pytest.raises(ValueError, match="'adamw' and 'muon' do not pair by seed: 2"):
        speed_up_table(fewer, [("adamw", "muon")])
    with pytest.raises(ValueError, match="unknown arm 'sgd'"):
        speed_up_table(table, [("sgd", "muon")])
    with pytest.raises(ValueError, match="unknown column 'tokens'"):
        speed_up_table(table, [("adamw", "muon")], ("tokens",))


def test_a_diverged_other_arm_is_no_speed_up_though_the_first_record_is_late():
    losses = np.stack([falling(2)] * 2)[:, 4:]
    found = speed_up(STEPS[4:], losses, 1000, [2.5, np.inf], resamples=20)
    assert found.ratio == 0
