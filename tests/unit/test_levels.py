"""Losses that all runs pass, and what runs are where they pass them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muonlab.report.crossings import by_run, crossings
from muonlab.report.levels import (
    Along,
    along,
    diverged_runs,
    evaluated,
    joined,
    on_common_steps,
    with_levels,
)
from muonlab.statistics.levels import at_losses, common_levels, front, nearest_losses

FINITE = st.floats(1e-3, 1e3)
LOSS = st.one_of(FINITE, st.sampled_from([math.nan, math.inf]))
CURVE = st.lists(LOSS, min_size=1, max_size=20)


# ---------------------------------------------------------------- statistics


@given(st.lists(st.one_of(LOSS, st.just(-math.inf)), max_size=25))
def test_the_front_falls_strictly_and_holds_each_new_minimum(losses):
    lowest, expected = math.inf, []
    for i, loss in enumerate(losses):
        if math.isfinite(loss) and loss < lowest:
            lowest, expected = loss, [*expected, i]
    assert list(front(losses)) == expected


@given(st.lists(CURVE, min_size=1, max_size=6), st.integers(3, 6))
def test_every_run_passes_every_level(curves, count):
    levels = common_levels(curves, count)
    assert len(levels) == count
    finite = [[loss for loss in curve if math.isfinite(loss)] for curve in curves]
    exists = all(finite) and min(c[0] for c in finite if c) > max(min(c) for c in finite if c)
    assert np.isfinite(levels).all() == exists
    if not exists:
        assert np.isnan(levels).all()
        return
    assert (np.diff(levels) <= 0).all() and levels[0] > levels[-1]
    assert levels[-1] == max(min(curve) for curve in finite)
    for curve in finite:
        assert curve[0] >= levels[0] and min(curve) <= levels[-1]
        values = at_losses(curve, np.arange(len(curve)), levels)
        assert np.isfinite(values).all(), "so no run is left out"


def test_levels_are_even_below_what_all_had_soon_after_the_start():
    levels = common_levels([[9.0, 8.0, 1.0], [9.0, 8.5, 2.0, 1.0]], 3)
    assert levels == pytest.approx([4.0, 2.0, 1.0])
    # A run that is under the other's minimum at once: the start is the only loss above.
    assert common_levels([[16.0, 1.0], [16.0, 6.0, 2.0]], 3) == pytest.approx([8.0, 4.0, 2.0])
    # A run that never falls has no loss in common with others but its first.
    assert np.isnan(common_levels([[8.0, 9.0], [8.0, 1.0]], 3)).all()
    assert np.isnan(common_levels([], 3)).all()


@given(
    st.lists(FINITE, min_size=2, max_size=20),
    st.floats(-5, 5),
    st.floats(-5, 5),
    st.floats(0, 1),
)
def test_interpolation_is_exact_for_linear_functions_of_the_loss(losses, slope, offset, share):
    falling = np.asarray(losses)[front(losses)]
    level = falling[0] + share * (falling[-1] - falling[0])
    level = np.clip(level, falling[-1], falling[0])
    values = offset + slope * np.asarray(losses)
    found = at_losses(losses, values, np.array([level]))
    assert found[0] == pytest.approx(offset + slope * level, rel=1e-9, abs=1e-6)


def test_values_where_the_loss_rose_do_not_count():
    losses, values = [4.0, 2.0, 3.0, 1.0], [0.0, 1.0, 99.0, 2.0]
    assert at_losses(losses, values, [3.0, 2.0, 1.5]) == pytest.approx([0.5, 1.0, 1.5])


def test_a_level_outside_of_what_is_known_is_nan():
    assert np.isnan(at_losses([4.0, 2.0], [0.0, 1.0], [5.0, 1.0, math.nan])).all()
    assert np.isnan(at_losses([math.nan], [0.0], [1.0])).all()
    # The first value is unknown, as that of an update before the first one.
    found = at_losses([4.0, 2.0, 1.0], [math.nan, 1.0, 3.0], [3.0, 2.0, 1.5])
    assert math.isnan(found[0]) and list(found[1:]) == [1.0, 2.0]


@given(CURVE, FINITE)
def test_no_snapshot_is_nearer_than_the_nearest(losses, level):
    (found,) = nearest_losses(losses, [level])
    falling = np.asarray(losses)[front(losses)]
    if len(falling) == 0:
        assert math.isnan(found)
    else:
        assert abs(found - level) == np.abs(falling - level).min()


# ---------------------------------------------------------------- records of runs


def metrics(losses, every=10):
    """Evaluations of runs by (arm, seed)."""
    rows = [
        {"arm": arm, "seed": seed, "step": every * i, "split": split, "metric": "loss"}
        | {"value": loss if split == "validation" else -1.0}
        for (arm, seed), curve in losses.items()
        for i, loss in enumerate(curve)
        for split in ("validation", "train")
    ]
    return pd.DataFrame(rows)


LOSSES = {
    ("muon", 1): [16.0, 2.0, 1.0],
    ("muon", 2): [16.0, 4.0, 1.0],
    ("adamw", 1): [16.0, 6.0, 2.0],
    ("adamw", 2): [16.0, math.nan, math.nan],
}
RUNS = [{"arm": arm, "seed": seed, "run": f"{arm}/{seed}"} for arm, seed in LOSSES]
SUMMARIES = [
    {"diverged": key == ("adamw", 2), "steps": 20, "evaluated_on": "validation"} for key in LOSSES
]
PROVENANCES = [{"tokens": 2000, "seconds_in_updates": 4.0}] * 4
LOST = diverged_runs(RUNS, SUMMARIES)


def test_diverged_runs_do_not_count_for_the_levels_and_are_infinite():
    curves = evaluated(metrics(LOSSES), "validation", LOST)
    assert list(LOST) == [("adamw", 2)]
    levels = curves.levels(3)
    assert levels == pytest.approx([8.0, 4.0, 2.0]), "muon's first run is at 2 at once"
    found = curves.steps_to(levels).pivot(index=["arm", "seed"], columns="point", values="step")
    assert list(found.loc[("muon", 1)]) == pytest.approx([10 * 8 / 14, 10 * 12 / 14, 10])
    assert list(found.loc[("muon", 2)]) == pytest.approx([10 * 8 / 12, 10, 10 + 10 * 2 / 3])
    assert list(found.loc[("adamw", 1)]) == pytest.approx([8, 15, 20])
    assert np.isinf(found.loc[("adamw", 2)]).all()
    assert np.isnan(curves.at(levels).set_index("arm").nearest["adamw"].to_numpy()[3:]).all()


def test_levels_are_those_of_the_arms_that_are_compared():
    curves = evaluated(metrics(LOSSES), "validation", LOST)
    assert curves.levels(3, ["muon"])[-1] == 1.0
    assert set(curves.steps_to(curves.levels(3, ["muon"]), ["muon"]).arm) == {"muon"}


def test_crossings_are_told_in_steps_tokens_and_seconds():
    table = crossings(metrics(LOSSES), RUNS, SUMMARIES, PROVENANCES, 3)
    wide = by_run(table)
    own = wide.loc[("adamw", 1)]
    assert own.step_at_loss_2 == pytest.approx(15)
    assert own.tokens_at_loss_2 == pytest.approx(1500)
    assert own.seconds_at_loss_2 == pytest.approx(3.0)
    bare = crossings(metrics(LOSSES), RUNS, SUMMARIES, [{}] * 4, 3)
    assert bare.tokens.isna().all() and not bare.step.isna().any()


def test_without_a_common_loss_nothing_is_estimated():
    losses = {("muon", 1): [8.0, 1.0], ("adamw", 1): [8.0, 9.0]}
    summaries = [{"diverged": False, "steps": 10, "evaluated_on": "validation"}] * 2
    runs = [{"arm": arm, "seed": seed} for arm, seed in losses]
    table = crossings(metrics(losses), runs, summaries, PROVENANCES[:2], 3)
    assert len(table) == 6 and table[["level", "step", "tokens", "seconds"]].isna().all(axis=None)


def records(losses, quantities, keys=()):
    """What was measured at each of the runs' evaluations: functions of the loss, by name."""
    rows = []
    for (arm, seed), curve in losses.items():
        for i, loss in enumerate(curve):
            point = {0: "start", len(curve) - 1: "end"}.get(i, "rung")
            base = {"arm": arm, "seed": seed, "point": point, "step": 10 * i, "loss": loss}
            rows += [base | {"quantity": n, "value": f(loss)} for n, f in quantities.items()]
    return pd.DataFrame(rows)


def test_what_is_linear_in_the_loss_is_the_same_for_all_runs_at_a_level():
    made = records(LOSSES, {"a": lambda loss: 3 * loss - 1, "b": lambda loss: -loss})
    runs = along(made, LOST)
    levels = runs.levels(3)
    found = runs.at(levels)
    known = found[~((found.arm == "adamw") & (found.seed == 2))]
    assert known.a.to_numpy() == pytest.approx(3 * known.level - 1)
    assert known.b.to_numpy() == pytest.approx(-known.level)
    assert found[(found.arm == "adamw") & (found.seed == 2)][["a", "b"]].isna().all(axis=None)


def test_records_at_levels_stand_beside_those_of_the_start_and_the_end():
    made = records(LOSSES, {"a": lambda loss: loss}).assign(kind=np.nan, index=1)
    made = made.rename(columns={"quantity": "metric"})
    table = with_levels(made, ["metric", "kind", "index"], LOST, 3)
    assert set(table.point) == {"start", "end", "loss 1", "loss 2", "loss 3"}
    assert table[["metric", "index"]].notna().all(axis=None) and table.kind.isna().all()
    levels = table[table.point.str.startswith("loss") & table.value.notna()]
    assert levels.value.to_numpy() == pytest.approx(levels.level.to_numpy())
    assert len(table) == 4 * 5
    assert list(table[table.point == "end"].value.dropna()) == [1.0, 1.0, 2.0]


def test_records_between_evaluations_get_the_loss_between_them():
    curves = evaluated(metrics(LOSSES), "validation", LOST)
    made = pd.DataFrame({"arm": "adamw", "seed": 1, "step": [0, 5, 15, 25], "value": 1.0})
    assert list(joined(made, curves).loss[:3]) == pytest.approx([16.0, 11.0, 4.0])
    assert math.isnan(joined(made, curves).loss[3])


def test_a_curve_over_the_loss_goes_as_far_as_all_runs_of_the_arm():
    runs = along(records(LOSSES, {"a": lambda loss: 2 * loss}), LOST)
    curve = runs.over_loss("muon", "a")
    assert (curve.loss.max(), curve.loss.min()) == pytest.approx((16.0, 1.0))
    assert curve.value.to_numpy() == pytest.approx(2 * curve.loss)
    assert curve.groupby("loss").seed.nunique().eq(2).all()
    assert set(runs.over_loss("adamw", "a").seed) == {1}, "the other one diverged"
    assert len(Along({}, LOST).over_loss("muon", "a")) == 0
    assert list(runs.ends("muon", "a").value) == [2.0, 2.0]


def test_runs_with_other_steps_are_brought_to_common_ones():
    rows = [
        {"arm": "muon", "seed": seed, "step": step, "value": 2.0 * step + seed}
        for seed, steps in ((1, [0, 10, 30]), (2, [0, 20, 40]))
        for step in steps
    ]
    found = on_common_steps(pd.DataFrame(rows), frozenset())
    assert sorted(set(found.step)) == [0, 10, 20, 30], "to the end of the shorter run"
    assert found.value.to_numpy() == pytest.approx(2.0 * found.step + found.seed)
    assert len(on_common_steps(pd.DataFrame(rows), frozenset({("muon", 1), ("muon", 2)}))) == 0
