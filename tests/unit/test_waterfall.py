"""The waterfall of a published gap: its numbers, signs, missing runs, figure and sentences."""

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.plan.reported import WaterfallStep
from muonlab.report.figures.gap_waterfall import waterfall as drawn
from muonlab.report.records import write_csv
from muonlab.report.tables.waterfall import waterfall
from muonlab.report.waterfall import waterfall_sentences
from muonlab.statistics.paired import paired
from muonlab.statistics.verdicts import HIGHER, LOWER, NO_VERDICT, NOT_ESTIMABLE, UNDECIDED

STEPS = {"as published": -0.53, "initialisation": -0.31, "rates apart": -0.09, "budget": -0.1}


def made_up(gaps=STEPS, n=5, noise=0.01, diverged=(), outcome="final_loss", seed=0):
    """Losses of two arms for each step; twice as large on the test split, and another noise on the
    part of the evaluation split that curves read."""
    rng = np.random.default_rng(seed)
    level = 0.2 * rng.normal(size=n)
    plan, runs, summaries, rows = [], [], [], []
    for i, (label, gap) in enumerate(gaps.items()):
        plan.append({"label": label, "a": f"muon_{i}", "b": f"adamw_{i}", "outcome": outcome})
        for k in range(n):
            for arm, mean in ((f"muon_{i}", gap), (f"adamw_{i}", 0.0)):
                loss = 4.5 + level[k] + mean + noise * rng.normal()
                lost = (arm, k) in diverged
                runs.append({"arm": arm, "seed": k, "run": f"{arm}/seed-{k}"})
                summaries.append({"diverged": lost, "final_loss": None if lost else loss})
                summaries[-1] |= {"test_loss": None if lost else 2 * loss}
                part = loss + noise * rng.normal()
                summaries[-1] |= {"evaluated_on": "validation", "part": part}
                for step, split, value in (
                    (0, "validation", 6.0),
                    (100, "validation", part),
                    (100, "whole", loss),
                    (100, "train", 1.0),
                ):
                    row = {"arm": arm, "seed": k, "step": step, "split": split}
                    rows.append(row | {"metric": "loss", "value": value})
    study = {"title": "Made up", "data": "python", "protocol": "fair", "alpha": 0.05, "arms": []}
    study |= {"interval": "95 %", "seeds": list(range(n)), "kind": "text"}
    study |= {"training": {"evaluate_on": "validation", "paired": True}}
    return (plan, runs, summaries, pd.DataFrame(rows)), study


def losses(runs, summaries, arm, key="final_loss"):
    return np.array([s[key] for r, s in zip(runs, summaries, strict=True) if r["arm"] == arm])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 7))
def test_gaps_and_changes_are_paired_t_intervals(seed, n):
    given_, study = made_up(n=n, seed=seed, noise=0.05)
    _, runs, summaries, _ = given_
    table = waterfall(*given_, study)
    before = None
    for i, row in enumerate(table.itertuples()):
        gap = losses(runs, summaries, f"muon_{i}") - losses(runs, summaries, f"adamw_{i}")
        # The gaps are one family of four comparisons, the changes one of three.
        expected = stats.ttest_1samp(gap, 0).confidence_interval(1 - 0.05 / 4)
        assert row.gap == pytest.approx(gap.mean()) and row.n == n
        assert (row.gap_low, row.gap_high) == pytest.approx(tuple(expected), rel=1e-6)
        if before is not None:
            expected = stats.ttest_rel(gap, before).confidence_interval(1 - 0.05 / 3)
            assert row.change == pytest.approx((gap - before).mean())
            assert (row.change_low, row.change_high) == pytest.approx(tuple(expected), rel=1e-6)
            assert row.before == pytest.approx(before.mean())
        before = gap
    # The changes lead from the first gap to the last one.
    assert table.gap.iloc[0] + table.change.sum() == pytest.approx(table.gap.iloc[-1])
    assert math.isnan(table.change.iloc[0])


def test_swapping_the_sides_turns_every_sign_and_verdict():
    given_, study = made_up()
    plan, runs, summaries, metrics = given_
    turned = [step | {"a": step["b"], "b": step["a"]} for step in plan]
    one, other = waterfall(*given_, study), waterfall(turned, runs, summaries, metrics, study)
    assert np.allclose(one.gap, -other.gap) and np.allclose(one.gap_low, -other.gap_high)
    word = {HIGHER: LOWER, LOWER: HIGHER}
    assert list(one.gap_verdict.map(lambda v: word.get(v, v))) == list(other.gap_verdict)
    # Whether a correction closes the gap does not depend on the sides.
    said = [list(waterfall_sentences(table, study))[4:] for table in (one, other)]
    assert [s.split("]")[-1] for s in said[0]] == [s.split("]")[-1] for s in said[1]]


def test_each_step_may_read_another_outcome():
    given_, study = made_up(n=4, noise=0.1)
    plan, runs, summaries, _ = given_
    plan[1]["outcome"], plan[2]["outcome"] = "test_loss", "part_loss"
    table = waterfall(*given_, study)
    for i, key in ((0, "final_loss"), (1, "test_loss"), (2, "part")):
        own = losses(runs, summaries, f"muon_{i}", key) - losses(runs, summaries, f"adamw_{i}", key)
        assert table.gap[i] == pytest.approx(own.mean()), key
    whole = losses(runs, summaries, "muon_2") - losses(runs, summaries, "adamw_2")
    assert table.gap[2] != pytest.approx(whole.mean())


def test_a_diverged_run_is_never_dropped():
    given_, study = made_up(diverged=[("adamw_1", 2)])
    table = waterfall(*given_, study)
    assert table.gap.isna().tolist() == [False, True, False, False]
    assert table.change.isna().tolist() == [True, True, True, False]
    assert table.change_verdict[1] == NOT_ESTIMABLE and "not finite" in table.change_said[1]
    assert "not estimable" in "\n".join(waterfall_sentences(table, study))


def test_below_four_seeds_nothing_is_concluded():
    given_, study = made_up(n=3)
    table = waterfall(*given_, study)
    assert (table.gap_verdict == NO_VERDICT).all() and np.isfinite(table.gap_low).all()
    said = "\n".join(waterfall_sentences(table, study))
    assert "closes" not in said and "no verdict (n = 3)" in said


def test_the_sentences_follow_the_numbers_and_order_them():
    given_, study = made_up()
    said = list(waterfall_sentences(waterfall(*given_, study), study))
    items = [line for line in said if line.startswith("- ")]
    assert items[0].startswith(("- initialisation", "- rates apart")) and "closes" in items[0]
    assert items[-1].startswith("- budget")
    wider, study = made_up({"as published": -0.1, "mistake": -0.4})
    said = "\n".join(waterfall_sentences(waterfall(*wider, study), study))
    assert "widens the gap" in said and "The gap has grown by" in said


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.floats(-3, 3))
def test_a_paired_verdict_is_that_of_its_interval(values, shift):
    a = np.array(values)
    found = paired(a + shift, np.zeros(len(a)))
    turned = paired(np.zeros(len(a)), a + shift)
    assert found.difference == pytest.approx(np.mean(a + shift), abs=1e-12)
    swapped = {HIGHER: LOWER, LOWER: HIGHER}
    assert turned.verdict == swapped.get(found.verdict, found.verdict)
    if len(a) < 4 or math.isnan(found.low):
        assert found.verdict in (NO_VERDICT, NOT_ESTIMABLE) and found.verdict in found.said
    else:
        inside = found.low <= 0 <= found.high
        assert (found.verdict == UNDECIDED) == inside


def test_more_comparisons_make_the_interval_of_each_one_wider():
    a = np.random.default_rng(0).normal(size=6)
    one, of_ten = paired(a, 0 * a), paired(a, 0 * a, family=10)
    assert of_ten.low < one.low < one.high < of_ten.high
    assert (of_ten.low, of_ten.high) == (paired(a, 0 * a, 0.005).low, paired(a, 0 * a, 0.005).high)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"n": 1},
        {"n": 2},
        {"gaps": {"one": 0.5, "two": -0.2}},
        {"gaps": {"one": 0.0, "two": 0.0}, "noise": 0.0},
        {"diverged": [("muon_0", 1)]},
    ],
)
def test_the_figure_is_drawn_without_a_warning(case, tmp_path):
    given_, study = made_up(**case)
    write_csv(waterfall(*given_, study), tmp_path / "waterfall.csv")
    table = pd.read_csv(tmp_path / "waterfall.csv")  # as the workflow passes it on
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawn(table, study)
        figure.canvas.draw()
    list(waterfall_sentences(table, study))
    plt.close(figure)


def test_bars_lead_from_each_gap_to_the_next():
    given_, study = made_up()
    table = waterfall(*given_, study)
    figure = drawn(table, study)
    bars = figure.axes[0].patches
    assert len(bars) == len(table) + 1
    ends = [bar.get_x() + bar.get_width() for bar in bars[1:-1]]
    assert ends == pytest.approx(list(table.gap[1:]))
    assert [bar.get_x() for bar in bars[1:-1]] == pytest.approx(list(table.gap[:-1]))
    shown = " ".join(text.get_text() for text in figure.axes[1].texts)
    for gap in table.gap:
        assert f"{gap:+.3f}".replace("-", "−") in shown
    plt.close(figure)


def test_a_step_knows_its_outcomes():
    with pytest.raises(ValueError, match="outcome"):
        WaterfallStep.model_validate({"label": "x", "a": "m", "b": "a", "outcome": "best_loss"})


def test_a_gap_that_is_compared_elsewhere_is_taken_from_there():
    given_, study = made_up()
    row = {"outcome": "final_loss", "arm_a": "muon_3", "arm_b": "adamw_3", "n_a": 5, "n_b": 5}
    row |= {"difference": -0.5, "low": -0.7, "high": -0.3, "verdict": "better", "needs_n": np.nan}
    plain = waterfall(*given_, study)
    for one, told in ((row, "better"), (turned(row), "better")):
        found = waterfall(*given_, study, pd.DataFrame([one, one | {"outcome": "test_loss"}]))
        last = found.iloc[3]
        assert (last.gap, last.gap_low, last.gap_high) == (-0.5, -0.7, -0.3)
        assert (last.gap_verdict, last.gap_said) == (told, told)
        pd.testing.assert_frame_equal(plain[:3], found[:3])
        pd.testing.assert_series_equal(plain.change_low, found.change_low)


def turned(row):
    """The same comparison with its arms the other way round."""
    sides = {"arm_a": row["arm_b"], "arm_b": row["arm_a"], "verdict": "worse"}
    return row | sides | {"difference": 0.5, "low": 0.3, "high": 0.7}
