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
from muonlab.statistics.paired import HIGHER, LOWER, NONE, UNDECIDED, paired

STEPS = {"as published": -0.53, "initialisation": -0.31, "rates apart": -0.09, "budget": -0.1}


def made_up(gaps=STEPS, n=5, noise=0.01, diverged=(), outcome="final_loss", part=None, seed=0):
    rng = np.random.default_rng(seed)
    level = 0.2 * rng.normal(size=n)
    plan, runs, summaries = [], [], []
    for i, (label, gap) in enumerate(gaps.items()):
        plan.append({"label": label, "a": f"muon_{i}", "b": f"adamw_{i}", "outcome": outcome})
        for k in range(n):
            for arm, mean in ((f"muon_{i}", gap), (f"adamw_{i}", 0.0)):
                loss = 4.5 + level[k] + mean + noise * rng.normal()
                lost = (arm, k) in diverged
                runs.append({"arm": arm, "seed": k, "run": f"{arm}/seed-{k}"})
                summaries.append({"diverged": lost, "final_loss": None if lost else loss})
                summaries[-1] |= {"test_loss": None if lost else 2 * loss}
                if part is not None:
                    summaries[-1]["part_loss"] = loss + part
    study = {"title": "Made up", "data": "python", "protocol": "fair", "alpha": 0.05, "arms": []}
    study |= {"interval": "95 %", "seeds": list(range(n)), "kind": "text"}
    study |= {"training": {"evaluate_on": "validation", "paired": True}}
    return (plan, runs, summaries), study


def losses(runs, summaries, arm, key="final_loss"):
    return np.array([s[key] for r, s in zip(runs, summaries, strict=True) if r["arm"] == arm])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 7))
def test_gaps_and_changes_are_paired_t_intervals(seed, n):
    given_, study = made_up(n=n, seed=seed, noise=0.05)
    _, runs, summaries = given_
    table = waterfall(*given_, study)
    before = None
    for i, row in enumerate(table.itertuples()):
        gap = losses(runs, summaries, f"muon_{i}") - losses(runs, summaries, f"adamw_{i}")
        expected = stats.ttest_1samp(gap, 0).confidence_interval(0.95)
        assert row.gap == pytest.approx(gap.mean()) and row.n == n
        assert (row.gap_low, row.gap_high) == pytest.approx(tuple(expected), rel=1e-6)
        if before is not None:
            expected = stats.ttest_rel(gap, before).confidence_interval(0.95)
            assert row.change == pytest.approx((gap - before).mean())
            assert (row.change_low, row.change_high) == pytest.approx(tuple(expected), rel=1e-6)
            assert row.before == pytest.approx(before.mean())
        before = gap
    # The changes lead from the first gap to the last one.
    assert table.gap.iloc[0] + table.change.sum() == pytest.approx(table.gap.iloc[-1])
    assert math.isnan(table.change.iloc[0])


def test_swapping_the_sides_turns_every_sign_and_verdict():
    given_, study = made_up()
    plan, runs, summaries = given_
    turned = [step | {"a": step["b"], "b": step["a"]} for step in plan]
    one, other = waterfall(*given_, study), waterfall(turned, runs, summaries, study)
    assert np.allclose(one.gap, -other.gap) and np.allclose(one.gap_low, -other.gap_high)
    word = {HIGHER: LOWER, LOWER: HIGHER}
    assert list(one.gap_verdict.map(lambda v: word.get(v, v))) == list(other.gap_verdict)
    # Whether a correction closes the gap does not depend on the sides.
    said = [list(waterfall_sentences(table, study))[4:] for table in (one, other)]
    assert [s.split("]")[-1] for s in said[0]] == [s.split("]")[-1] for s in said[1]]


def test_each_step_may_read_another_outcome():
    given_, study = made_up(n=4, part=0.5)
    plan, runs, summaries = given_
    plan[1]["outcome"], plan[2]["outcome"] = "test_loss", "part_loss"
    summaries[-1]["part_loss"] = None
    study["training"]["evaluation_examples"] = 64
    table = waterfall(*given_, study)
    gap = losses(runs, summaries, "muon_1", "test_loss") - losses(
        runs, summaries, "adamw_1", "test_loss"
    )
    assert table.gap[1] == pytest.approx(gap.mean())
    gap = losses(runs, summaries, "muon_2", "part_loss") - losses(
        runs, summaries, "adamw_2", "part_loss"
    )
    assert table.gap[2] == pytest.approx(gap.mean())


def test_the_loss_on_a_part_is_the_final_one_where_every_evaluation_reads_all():
    given_, study = made_up(outcome="part_loss")
    study["training"]["evaluation_examples"] = None
    assert np.isfinite(waterfall(*given_, study).gap).all()
    study["training"]["evaluation_examples"] = 64  # and the runs have not recorded it
    table = waterfall(*given_, study)
    assert table.gap.isna().all() and (table.gap_verdict == NONE).all()


def test_a_diverged_run_is_never_dropped():
    given_, study = made_up(diverged=[("adamw_1", 2)])
    table = waterfall(*given_, study)
    assert table.gap.isna().tolist() == [False, True, False, False]
    assert table.change.isna().tolist() == [True, True, True, False]
    assert "not finite" in table.change_reason[1]
    assert "not estimable" in "\n".join(waterfall_sentences(table, study))


def test_below_four_seeds_nothing_is_concluded():
    given_, study = made_up(n=3)
    table = waterfall(*given_, study)
    assert (table.gap_verdict == NONE).all() and np.isfinite(table.gap_low).all()
    said = "\n".join(waterfall_sentences(table, study))
    assert "closes" not in said and "n = 3 is below 4" in said


def test_the_sentences_follow_the_numbers_and_order_them():
    given_, study = made_up()
    said = list(waterfall_sentences(waterfall(*given_, study), study))
    items = [line for line in said if line.startswith("- ")]
    assert items[0].startswith(("- initialisation", "- rates apart")) and "closes" in items[0]
    assert items[-1].startswith("- budget")
    wider, study = made_up({"as published": -0.1, "mistake": -0.4})
    said = "\n".join(waterfall_sentences(waterfall(*wider, study), study))
    assert "widens the gap" in said and "was added to the first gap" in said


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
        assert found.verdict == NONE and found.reason
    else:
        inside = found.low <= 0 <= found.high
        assert (found.verdict == UNDECIDED) == inside


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
