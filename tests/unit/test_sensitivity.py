"""Loss over factors of the best rate, the width of the basin, ±20 % of each setting."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics.basin import Widths, basin, basin_contrast, basin_widths
from muonlab.statistics.perturbation import basin_table, perturbation_table, sensitivity_curve

FACTORS = {"quarter": 0.25, "half": 0.5, "best": 1.0, "double": 2.0, "four": 4.0}


def runs(losses, arms, outcome="final_loss"):
    """A table of runs from losses of shape (seeds, arms)."""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "outcome": outcome, "value": value}
            for seed, row in enumerate(losses)
            for arm, value in zip(arms, row, strict=True)
        ]
    )


def parabola(rates, best, curvature, floor=2.0):
    """floor · (1 + curvature · (octaves from the best)²): the basin's width is known."""
    return floor * (1 + curvature * (np.log2(rates) - np.log2(best)) ** 2)


# The curve.


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 8))
def test_the_curve_is_the_paired_relative_change(seed, n):
    losses = np.random.default_rng(seed).uniform(1, 2, (n, 5))
    order = np.random.default_rng(seed).permutation(5)
    arms = [list(FACTORS)[i] for i in order]
    table = runs(losses[:, order], arms).sample(frac=1, random_state=seed % 1000)
    curve = sensitivity_curve(table, {a: FACTORS[a] for a in arms}, "final_loss")
    assert list(curve["arm"]) == list(FACTORS) and list(curve["factor"]) == [0.25, 0.5, 1, 2, 4]
    for row, values in zip(curve.itertuples(), losses.T, strict=True):
        assert row.mean == pytest.approx(values.mean()) and row.n == n
        if row.factor == 1:
            assert row.change == 0 and math.isnan(row.change_low)
            continue
        change = values / losses[:, 2] - 1
        low, high = stats.t.interval(0.95, n - 1, change.mean(), stats.sem(change))
        got = (row.change, row.change_low, row.change_high)
        assert got == pytest.approx((change.mean(), low, high), rel=1e-6)


def test_what_the_seeds_share_cancels_in_the_change():
    seeds = np.random.default_rng(0).uniform(1, 9, (6, 1))
    curve = sensitivity_curve(
        runs(seeds * [1.4, 1.1, 1.0, 1.2, 1.9], FACTORS), FACTORS, "final_loss"
    )
    assert list(curve["change"]) == pytest.approx([0.4, 0.1, 0, 0.2, 0.9])
    assert (curve["mean_high"] - curve["mean_low"] > 1).all()


def test_a_diverged_run_is_counted_and_makes_its_point_not_estimable():
    losses = np.random.default_rng(0).uniform(1, 2, (4, 5))
    losses[1, 4] = np.inf
    curve = sensitivity_curve(runs(losses, FACTORS), FACTORS, "final_loss").set_index("arm")
    assert curve.loc["four", "diverged"] == 1 and math.isnan(curve.loc["four", "change"])
    assert curve.loc["half", "diverged"] == 0 and math.isfinite(curve.loc["half", "change_low"])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"half": 0.5, "double": 2.0}, "factors need one arm of factor 1"),
        ({"half": 1.0, "best": 1.0}, "positive and different"),
        ({"half": -1.0, "best": 1.0}, "positive and different"),
        ({"haff": 0.5, "best": 1.0}, "unknown arm 'haff'"),
    ],
)
def test_wrong_factors_are_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        sensitivity_curve(runs(np.ones((2, 5)), FACTORS), factors, "final_loss")


def test_seeds_that_only_some_arms_have_are_named():
    table = runs(np.random.default_rng(0).uniform(1, 2, (3, 5)), FACTORS)
    table = table[~((table["arm"] == "four") & (table["seed"] == 2))]
    with pytest.raises(ValueError, match="do not pair by seed.*only: 2"):
        sensitivity_curve(table, FACTORS, "final_loss")


# The basin.


@settings(max_examples=40, deadline=None)
@given(
    best=st.floats(-1.0, 1.0),
    half_width=st.floats(0.3, 3.0),
    floor=st.floats(0.01, 100),
)
def test_the_width_of_a_parabola_on_a_fine_grid(best, half_width, floor):
    rates = 2 ** np.linspace(-6, 6, 1201)
    losses = parabola(rates, 2**best, 0.01 / half_width**2, floor)
    found = basin_widths(rates, [losses])
    assert found.octaves[0] == pytest.approx(2 * half_width, abs=0.03)
    assert not found.cut[0]


def test_the_crossing_is_linear_in_the_logarithm_of_the_rate():
    # Limit 1.01: a quarter of the way from 1 to 1.04, and half of it from 1 to 1.02.
    found = basin_widths([0.01, 0.1, 0.4], [[1.04, 1.0, 1.02]])
    assert found.octaves[0] == pytest.approx(0.25 * math.log2(10) + 0.5 * 2)


def test_only_the_part_about_the_best_counts():
    found = basin_widths([1, 2, 4, 8, 16], [[1.005, 1.5, 1.0, 1.5, 1.0]])
    assert found.octaves[0] == pytest.approx(2 * 0.02)


def test_a_basin_that_runs_to_an_end_is_a_lower_bound():
    found = basin_widths([1, 2, 4], [[1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [1.5, 1.0, 1.5]])
    assert list(found.cut_low) == [True, False, False]
    assert list(found.cut_high) == [False, True, False]
    assert found.octaves[0] == pytest.approx(1.01)
    mean = basin([1, 2, 4], [[1.0, 1.0, 2.0], [2.0, 1.0, 1.0], [1.5, 1.0, 1.5]])
    assert mean.at_least and (mean.cut_low, mean.cut_high) == (1, 1) and math.isinf(mean.high)
    assert math.isfinite(mean.octaves) and math.isfinite(mean.low)
    one = basin_widths([1.0], [[3.0]])
    assert one.octaves[0] == 0 and one.cut_low[0] and one.cut_high[0]


def test_a_diverged_neighbour_ends_the_basin_at_the_last_good_rate():
    for bad in (np.inf, np.nan):
        found = basin_widths([1, 2, 4], [[1.5, 1.0, bad]])
        assert found.octaves[0] == pytest.approx(0.02) and not found.cut[0]


def test_a_seed_without_a_finite_loss_makes_the_mean_not_estimable():
    mean = basin([1, 2, 4], [[1.5, 1.0, 1.5], [np.inf] * 3, [1.4, 1.0, 1.5]])
    assert math.isnan(mean.octaves) and mean.diverged == 1 and mean.n == 3
    assert math.isnan(mean.high) and not mean.at_least


def test_the_mean_and_its_interval_cover_the_true_width():
    rates = 2 ** np.linspace(-4, 4, 33)
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        shifts = 2 ** generator.normal(0, 0.3, 5)
        curvature = 0.01 / generator.normal(1.5, 0.2, 5) ** 2
        pairs = zip(shifts, curvature, strict=True)
        found = basin(rates, [parabola(rates, b, c) for b, c in pairs])
        hits += found.low < 3.0 < found.high
    assert 0.88 < hits / 200 <= 1


def test_the_contrast_of_two_basins_and_what_cut_ones_may_say():
    rates = 2 ** np.linspace(-3, 3, 25)
    wide = [parabola(rates, 1.0, 0.01 / w**2) for w in (2.0, 2.1, 1.9, 2.2)]
    narrow = [parabola(rates, 1.0, 0.01 / w**2) for w in (1.0, 1.1, 0.9, 1.3)]
    a, b = basin_widths(rates, wide), basin_widths(rates, narrow)
    assert basin_contrast(a, b).verdict == "a wider"
    assert basin_contrast(b, a).verdict == "b wider"
    cut = basin_widths(rates[8:17], [row[8:17] for row in wide])  # one octave to each side
    assert cut.cut.all()
    # A lower bound can be wider than a width, but not narrower.
    assert basin_contrast(cut, basin_widths(rates, [r**4 for r in narrow])).verdict == "a wider"
    shown = basin_contrast(a, basin_widths(rates[10:15], [row[10:15] for row in wide]))
    assert shown.verdict == "undecided" and "cut off by the rates tried on 4 seeds" in shown.reason
    assert (shown.cut_a, shown.cut_b) == (0, 4)
    assert basin_contrast(a, a).verdict == "not estimable"


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        ([1, 2], [[1.0, 2.0, 3.0]], r"shapes \(m,\) and \(n, m\)"),
        ([2, 1], [[1.0, 2.0]], "positive and rising"),
        ([0, 1], [[1.0, 2.0]], "positive and rising"),
        ([1, 2], [[0.0, 2.0]], "positive losses"),
    ],
)
def test_wrong_rates_and_losses_are_refused(rates, losses, message):
    with pytest.raises(ValueError, match=message):
        basin_widths(rates, losses)


def test_the_table_of_basins_says_which_were_cut_off():
    losses = [[2.0, 1.2, 1.0, 1.3, 2.0], [2.0, 1.3, 1.0, 1.2, 2.0], [2.2, 1.1, 1.0, 1.1, 1.8]]
    flat = [[1.0, 1.001, 1.0, 1.002, 1.5]] * 3
    other = {f"m_{arm}": factor for arm, factor in FACTORS.items()}
    table = pd.concat([runs(losses, FACTORS), runs(flat, other)])
    found = basin_table(table, {"adamw": FACTORS, "muon": other}, "final_loss")
    assert list(found["curve"]) == ["adamw", "muon"] and list(found["at_least"]) == [False, True]
    assert found["octaves"][1] > found["octaves"][0]


# ±20 %.


def test_perturbations_are_paired_against_the_base():
    generator = np.random.default_rng(5)
    base = generator.uniform(1, 5, 6)
    up, down = base + generator.normal(0.2, 0.01, 6), base + generator.normal(0, 0.01, 6)
    arms = ["base", "up", "down"]
    table = runs(np.stack([base, up, down], axis=1), arms)
    changed = {"up": ("lr", 1.2), "down": ("momentum", 0.8)}
    found = perturbation_table(table, "base", changed, "final_loss").set_index("arm")
    want = stats.ttest_rel(up, base)
    interval = want.confidence_interval(1 - 0.05 / 2)  # two changes are one family
    row = found.loc["up"]
    assert (row["field"], row["factor"], row["n"]) == ("lr", 1.2, 6)
    assert (row["change"], row["low"], row["high"], row["p"]) == pytest.approx(
        ((up - base).mean(), interval.low, interval.high, want.pvalue)
    )
    assert row["relative"] == pytest.approx((up / base - 1).mean())
    assert list(found["p_adjusted"]) == pytest.approx(list(np.minimum(1, 2 * found["p"])))
    assert row["verdict"] == "worse" and found.loc["down", "verdict"] == "undecided"
    assert found.loc["down", "needs_n"] > 6


def test_a_diverged_perturbation_is_a_row_with_its_count():
    losses = np.random.default_rng(0).uniform(1, 2, (4, 3))
    losses[2, 1] = np.nan
    table = runs(losses, ["base", "up", "down"])
    changed = {"up": ("lr", 1.2), "down": ("lr", 0.8)}
    found = perturbation_table(table, "base", changed, "final_loss").set_index("arm")
    assert found.loc["up", "diverged"] == 1 and math.isnan(found.loc["up", "change"])
    assert found.loc["up", "verdict"] == "not estimable"
    # What diverged makes no other comparison easier.
    assert found.loc["down", "p_adjusted"] == pytest.approx(min(1, 2 * found.loc["down", "p"]))


def test_one_change_named_twice_is_refused():
    table = runs(np.random.default_rng(0).uniform(1, 2, (4, 3)), ["base", "up", "down"])
    with pytest.raises(ValueError, match="lr × 1.2 for more than one arm"):
        perturbation_table(table, "base", {"up": ("lr", 1.2), "down": ("lr", 1.2)}, "final_loss")


@pytest.mark.parametrize(("alpha", "verdict"), [(0.2, "a wider"), (0.01, "undecided")])
def test_the_wider_basin_is_decided_at_the_level_that_is_asked_for(alpha, verdict):
    no = np.zeros(4, dtype=bool)
    a = Widths(np.array([2.0, 2.6, 2.1, 3.0]), no, no)
    b = Widths(np.array([1.9, 1.8, 2.0, 2.1]), no, no)
    found = basin_contrast(a, b, alpha)
    assert 0.05 < found.test.p < 0.2 and found.verdict == verdict
    assert (found.needs_n > 4) == (verdict == "undecided")
    few = [Widths(w.octaves[:3], no[:3], no[:3]) for w in (a, b)]
    assert basin_contrast(*few, alpha).verdict == "no verdict"
