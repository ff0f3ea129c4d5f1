"""Search spaces: points of grids and Sobol sequences, proposals of TPE, growth at an edge."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.io.errors import UserError
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.section import field_limits
from muonlab.tuning.rounds import propose
from muonlab.tuning.space import grid_points, sobol_points
from muonlab.tuning.tpe import STARTUP, tpe_points
from muonlab.tuning.widening import extended, further_points

LR = {"low": 1e-4, "high": 1e-1, "log": True}
SPACE = {
    "lr": LR,
    "ns_steps": {"low": 3, "high": 7},
    "weight_decay": {"values": [0.0, 0.01, 0.1]},
    "scale": ["none", "original"],
}


def values(points, field):
    return [point[field] for point in points]


# Grids and Sobol points.


def test_a_grid_has_every_combination_once():
    points = grid_points({"lr": [0.1, 0.2], "momentum": {"values": [0.9, 0.95, 0.99]}})
    assert [tuple(p.values()) for p in points] == list(
        itertools.product([0.1, 0.2], [0.9, 0.95, 0.99])
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 40), more=st.integers(1, 40))
def test_more_points_start_with_the_same_points(seed, n, more):
    few, many = sobol_points(SPACE, n, seed), sobol_points(SPACE, n + more, seed)
    assert few == many[:n]
    assert len({tuple(p.items()) for p in many}) == n + more


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    low=st.floats(1e-6, 1e3),
    ratio=st.floats(1.05, 1e6),
    log=st.booleans(),
)
def test_points_are_short_plain_numbers_inside_the_box(seed, low, ratio, log):
    high = low * ratio
    points = sobol_points({"lr": {"low": low, "high": high, "log": log}}, 20, seed)
    for value in values(points, "lr"):
        assert type(value) is float and low <= value <= high
        digits = f"{value:.12e}".split("e")[0].replace(".", "").rstrip("0")
        # Narrow ranges have more digits: the range's hundredth part must still be seen.
        allowed = max(3, math.floor(math.log10(value)) - math.floor(math.log10((high - low) / 100)))
        assert len(digits) <= allowed + 1 or value in (low, high)


def test_integers_and_listed_values_stay_what_they_are():
    points = sobol_points(SPACE, 90, seed=5)
    assert set(map(type, values(points, "ns_steps"))) == {int}
    assert set(values(points, "ns_steps")) == {3, 4, 5, 6, 7}
    assert set(values(points, "weight_decay")) == {0.0, 0.01, 0.1}
    assert set(values(points, "scale")) == {"none", "original"}


@pytest.mark.parametrize("log", [True, False])
def test_points_spread_evenly_on_the_range_s_own_scale(log):
    points = sobol_points({"lr": {"low": 1e-4, "high": 1e-1, "log": log}}, 256, seed=1)
    scale = np.log if log else np.asarray
    u = (scale(values(points, "lr")) - scale(1e-4)) / (scale(1e-1) - scale(1e-4))
    counts, _ = np.histogram(u, bins=8, range=(0, 1))
    # 32 each for an unrounded sequence; 256 random points would stray by ± 11 (two sd).
    assert np.abs(counts - 32).max() <= 3


def test_a_logarithmic_integer_range_draws_its_ends():
    points = sobol_points({"warmup": {"low": 1, "high": 9, "log": True}}, 9, seed=0)
    assert sorted(values(points, "warmup")) == list(range(1, 10))


def test_every_integer_is_drawn_as_often():
    points = sobol_points({"ns_steps": {"low": 3, "high": 6}, "lr": LR}, 256, seed=0)
    counts = np.bincount(values(points, "ns_steps"))[3:]
    assert len(counts) == 4 and np.abs(counts - 64).max() <= 4


def test_the_seed_and_the_fields_make_the_points_and_their_order_does_not():
    assert sobol_points(SPACE, 8, seed=1) != sobol_points(SPACE, 8, seed=2)
    turned = dict(reversed(SPACE.items()))
    assert sobol_points(turned, 8, seed=1) == sobol_points(SPACE, 8, seed=1)


def test_a_small_space_gives_each_point_once_and_then_says_that_it_is_empty():
    space = {"ns_steps": {"low": 3, "high": 5}, "nesterov": [True, False]}
    points = sobol_points(space, 6, seed=0)
    assert len({tuple(p.items()) for p in points}) == 6
    with pytest.raises(UserError, match=r"my\.yaml: box: has only 6 different new points, and 7"):
        sobol_points(space, 7, seed=0, place="my.yaml: box")


def test_points_of_a_box_that_has_grown_are_new_and_in_the_new_part():
    old, new = {"lr": LR}, {"lr": LR | {"high": 3.0}}
    points = further_points(old, new, sobol_points(old, 8, seed=3), 12, seed=3)
    assert all(0.1 < lr <= 3.0 for lr in values(points, "lr"))
    assert points[:5] == further_points(old, new, [], 5, seed=3)
    again = further_points(old, new, points, 5, seed=3)
    assert not set(values(again, "lr")) & set(values(points, "lr"))


def test_a_box_that_has_not_grown_goes_on_until_it_is_used_up():
    space = {"ns_steps": {"low": 1, "high": 8}}
    known = sobol_points(space, 5, seed=3)
    assert known + further_points(space, space, known, 3, seed=3) == sobol_points(space, 8, seed=3)
    with pytest.raises(UserError, match="my box: has only 3 different new points, and 4"):
        further_points(space, space, known, 4, seed=3, place="my box")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "box: must name one or more fields"),
        ({"lr": {"low": 1.0, "high": 0.1}}, "box.lr: low must be a number below high"),
        ({"lr": {"low": True, "high": 2}}, "low must be a number below high"),
        ({"lr": {"low": 0.0, "high": math.inf}}, "low must be a number below high"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, "low must be above 0 on a logarithmic"),
        ({"lr": {"low": 1, "high": 2, "log": "yes"}}, "box.lr.log: must be true or false"),
        ({"lr": {"low": 0.1}}, "box.lr: must have either low, high .* it has low"),
        ({"lr": {"low": 1, "high": 2, "lgo": True}}, "box.lr: must have either low, high"),
        ({"lr": {"values": []}}, "box.lr: must be a list of one or more different values"),
        ({"lr": [0.1, 0.1]}, "different values"),
        ({"lr": "0.1"}, "must be a list"),
        ({"lr": [[0.1]]}, "must be a list"),
    ],
)
def test_a_wrong_space_is_one_sentence(space, message):
    with pytest.raises(UserError, match=message):
        sobol_points(space, 1, seed=0)


def test_a_grid_of_a_range_is_refused():
    with pytest.raises(UserError, match="grid.lr: a grid needs a list of values, not a range"):
        grid_points({"lr": LR})


def test_the_modules_import_nothing_slow():
    code = (
        "import sys, muonlab.tuning.space, muonlab.tuning.tpe, muonlab.tuning.widening;"
        "slow = {'torch', 'numpy', 'scipy', 'optuna'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    library = Path(__file__).parents[2] / "workflow_scripts"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(library)})


# Growth.


def grown(values, side, limits=None, field="x"):
    spaces = {"a": {field: values}}
    [[axis]] = [list(s.values()) for s in extended(spaces, {"a": {field: side}}, limits).values()]
    return axis["values"] if "values" in axis else (axis["low"], axis["high"])


@pytest.mark.parametrize(
    ("before", "side", "after"),
    [
        ([0.001, 0.003, 0.01], "high", [0.001, 0.003, 0.01, 0.0333]),
        ([0.01, 0.001, 0.003], "low", [0.000333, 0.01, 0.001, 0.003]),
        ([3, 5, 7], "high", [3, 5, 7, 9]),
        ([100, 500, 1000], "high", [100, 500, 1000, 2000]),
        ([0.0, 0.01], "high", [0.0, 0.01, 0.02]),
        ([0.0, 0.01, 0.1], "low", [0.0, 0.01, 0.1]),  # nothing lies below 0
        ([0.1, 0.3], "low", [0.0333, 0.1, 0.3]),
        (["none", "original"], "high", ["none", "original"]),
        ([0.1], "high", [0.1]),
    ],
)
def test_a_list_grows_by_one_value_of_the_same_step(before, side, after):
    assert grown(before, side) == after


def test_a_range_grows_by_half_its_width_on_its_own_scale():
    assert grown({"low": 1e-4, "high": 1e-2, "log": True}, "high") == (1e-4, 0.1)
    assert grown({"low": 1e-4, "high": 1e-2, "log": True}, "low") == (1e-5, 1e-2)
    assert grown({"low": 1.0, "high": 2.0}, "high") == (1.0, 2.5)
    assert grown({"low": 0.1, "high": 0.9}, "low") == (0.05, 0.9)  # −0.3 would pass 0
    assert grown({"low": 2, "high": 8, "log": True}, "low") == (1, 8)


def test_what_would_pass_a_limit_goes_towards_it():
    limits = field_limits(OPTIMIZERS["muon"])
    assert limits["momentum"] == (0, 1) and limits["ns_steps"] == (1, 100)
    assert grown([0.9, 0.95, 0.99], "high", limits, "momentum")[-1] == pytest.approx(0.998)
    assert grown({"low": 0.8, "high": 0.98}, "high", limits, "momentum") == (0.8, 0.99)
    assert grown([25, 100], "high", limits, "ns_steps") == [25, 100]
    values = [0.9, 0.99]
    for _ in range(5):
        values = grown(values, "high", limits, "momentum")
    assert len(values) == 7 and values == sorted(values) and values[-1] < 1


def test_all_arms_grow_where_any_arm_touched_an_edge():
    spaces = {"adamw": {"lr": [0.001, 0.01]}, "muon": {"lr": [0.01, 0.02]}}
    after = extended(spaces, {"adamw": {"lr": "low"}, "muon": {"lr": "high"}})
    assert after["adamw"]["lr"]["values"] == [0.0001, 0.001, 0.01, 0.1]
    assert after["muon"]["lr"]["values"] == [0.005, 0.01, 0.02, 0.04]
    old = grid_points(spaces["adamw"])
    assert all(point in grid_points(after["adamw"]) for point in old)
    same = extended(spaces, {"adamw": {}, "muon": {}})
    assert [grid_points(same[a]) for a in same] == [grid_points(spaces[a]) for a in spaces]


def test_grids_that_would_grow_unequally_are_refused_and_boxes_are_not():
    spaces = {
        "adamw": {"lr": [0.001, 0.01], "weight_decay": [0.0, 0.1]},
        "muon": {"lr": [0.001, 0.01], "momentum": [0.9, 0.95]},
    }
    with pytest.raises(UserError, match=r"different numbers of trials \(adamw 0, muon 2\)"):
        extended(spaces, {"muon": {"momentum": "high"}})
    boxes = {"adamw": spaces["adamw"], "muon": {"lr": LR, "momentum": [0.9, 0.95]}}
    assert len(extended(boxes, {"muon": {"momentum": "high"}})["muon"]["momentum"]["values"]) == 3


def test_every_arm_gets_as_many_new_trials_and_keeps_its_old_ones():
    boxes = {
        "adamw": {"lr": LR, "weight_decay": {"low": 0.001, "high": 0.1}},
        "muon": {"lr": LR, "momentum": {"low": 0.8, "high": 0.98}},
    }
    after = extended(boxes, {"muon": {"momentum": "high"}}, {"momentum": (0, 1)})
    old = {arm: sobol_points(box, 8, seed=2) for arm, box in boxes.items()}
    new = {arm: further_points(boxes[arm], after[arm], old[arm], 4, seed=2) for arm in boxes}
    assert {arm: len(points) for arm, points in new.items()} == {"adamw": 4, "muon": 4}
    assert old["adamw"] + new["adamw"] == sobol_points(boxes["adamw"], 12, seed=2)
    assert all(0.98 < momentum <= 0.99 for momentum in values(new["muon"], "momentum"))


# TPE.


def loss(point):
    far = math.log(point["lr"] / 0.01) ** 2 + 0.1 * (point["ns_steps"] - 5) ** 2
    return far + point["weight_decay"] + (point["scale"] == "original")


def scored(points):
    return [(point, loss(point)) for point in points]


def test_without_optuna_tpe_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match="needs the package optuna, which is not installed"):
        tpe_points(SPACE, [], 1, seed=0)


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna", reason="optuna is an option of the search")


def test_a_short_history_gives_the_sobol_points_that_it_lacks(optuna):
    first = sobol_points(SPACE, 12, seed=4)
    assert tpe_points(SPACE, [], 5, seed=4) == first[:5]
    assert tpe_points(SPACE, scored(first[:5]), 7, seed=4) == first[5:12]


def test_proposals_are_a_function_of_the_arguments_and_a_longer_list_starts_with_a_shorter(optuna):
    history = scored(sobol_points(SPACE, STARTUP + 3, seed=4))
    history[2] = (history[2][0], None)
    history[5] = (history[5][0], math.nan)
    points = tpe_points(SPACE, history, 8, seed=4)
    assert tpe_points(SPACE, history, 3, seed=4) == points[:3]
    tried = {tuple(p.items()) for p, _ in history}
    new = {tuple(p.items()) for p in points}
    assert len(new) == 8 and not new & tried
    for point in points:
        assert list(point) == list(SPACE) and type(point["ns_steps"]) is int
        assert 1e-4 <= point["lr"] <= 1e-1 and point["weight_decay"] in (0.0, 0.01, 0.1)
    assert tpe_points(SPACE, history, 8, seed=5) != points


def test_proposals_learn_from_the_history(optuna):
    history = scored(sobol_points(SPACE, 16, seed=0))
    for _ in range(6):
        history += scored(tpe_points(SPACE, history, 4, seed=0))
    spread = np.median([score for _, score in scored(sobol_points(SPACE, 200, seed=9))])
    assert np.median([score for _, score in history[16:]]) < spread / 3


def test_a_history_of_diverged_trials_still_gives_points(optuna):
    history = [(point, math.inf) for point in sobol_points(SPACE, STARTUP, seed=0)]
    assert len(tpe_points(SPACE, history, 3, seed=0)) == 3


def test_a_space_that_is_used_up_and_a_trial_outside_of_it_are_refused(optuna):
    space = {"ns_steps": [3, 4, 5, 6], "nesterov": [True, False], "scale": ["a", "b"]}
    history = [(p, 1.0) for p in sobol_points(space, 14, seed=1)]
    assert len(tpe_points(space, history, 2, seed=1)) == 2
    with pytest.raises(UserError, match="only 2 different new points, and 3 trials"):
        tpe_points(space, history, 3, seed=1)
    outside = [*history[:-1], (history[-1][0] | {"ns_steps": 9}, 1.0)]
    with pytest.raises(UserError, match="box.ns_steps: an earlier trial has 9, outside"):
        tpe_points(space, outside, 1, seed=1)


# Rounds of tuning.


def test_a_later_round_gives_every_arm_as_many_trials_though_one_box_alone_grew():
    boxes = {
        "adamw": {"lr": LR},
        "muon": {"lr": LR, "momentum": {"low": 0.8, "high": 0.98, "log": False}},
    }
    arms = {
        arm: {"space": box, "edges": {}, "limits": field_limits(OPTIMIZERS[arm])}
        for arm, box in boxes.items()
    }
    tuning = {"method": "sobol", "trials": 6, "search_seed": 5}
    scored = {
        arm: [{"settings": p, "score": 1.0} for p in sobol_points(box, 6, seed=5)]
        for arm, box in boxes.items()
    }
    nothing = propose(arms, tuning, scored, 2)
    assert nothing["points"] == {"adamw": [], "muon": []} and nothing["spaces"] == boxes
    arms["muon"]["edges"] = {"momentum": "high"}
    found = propose(arms, tuning, scored, 2)
    assert found["spaces"]["adamw"] == boxes["adamw"]
    assert found["spaces"]["muon"]["momentum"]["high"] == 0.99
    for arm, points in found["points"].items():
        known = [trial["settings"] for trial in scored[arm]]
        assert len(points) == 6 and not [p for p in points if p in known]
