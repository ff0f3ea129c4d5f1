"""Rounds of tuning: how many trials each may still propose, within which limits."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from muonlab.plan.known import Known
from muonlab.plan.runs import load_plan
from muonlab.tuning import rounds
from muonlab.tuning.rounds import propose
from muonlab.tuning.space import Choice
from muonlab.tuning.tpe import STARTUP, tpe_points

RANGE = {"low": 0.001, "high": 1.0, "log": True}


@pytest.mark.parametrize(
    ("trials", "batch", "of_each"),
    [
        (STARTUP + 5, 4, [4, 1]),
        (STARTUP + 8, 4, [4, 4]),
        (STARTUP + 1, 4, [1]),
        (STARTUP, 4, []),
        (STARTUP - 3, 4, []),
    ],
)
def test_all_rounds_of_tpe_together_propose_the_trials_that_are_left(
    trials, batch, of_each, monkeypatch, tmp_path
):
    arms = {"a": {"space": {"lr": RANGE}}, "b": {"space": {"lr": RANGE}}}
    tuning = {"method": "tpe", "trials": trials, "batch": batch, "search_seed": 0}
    monkeypatch.setattr(rounds, "tpe_points", lambda space, history, n, *_: [n])
    asked = [propose(arms, tuning, {"a": [], "b": []}, 2 + i) for i in range(len(of_each))]
    assert [one["points"] for one in asked] == [{"a": [n], "b": [n]} for n in of_each]
    assert study(tmp_path, tuning).rounds == 1 + len(of_each)


def study(tmp_path, tuning, **arms):
    file = tmp_path / "one.yaml"
    toy = {
        "data": "digits",
        "optimizers": {"adamw": {"name": "adamw"}},
        "arms": {"adamw": {"optimizer": "adamw"}} | arms,
        "tuning": {"seeds": [7]} | tuning,
        "seeds": [1],
    }
    data = {"digits": {"source": "digits"}}
    file.write_text(yaml.safe_dump({"data": data, "studies": {"toy": toy}}))
    return load_plan([file]).studies["toy"]


def test_a_trial_that_is_known_is_not_trained_again(tmp_path):
    toy = study(tmp_path, {"grid": {"lr": [0.1, 0.2]}})
    rounds = [
        {"points": {"adamw": points}} for points in ([{"lr": 0.2}, {"lr": 0.4}], [{"lr": 0.4}])
    ]
    assert [run.settings["lr"] for run in Known(toy, rounds).tuning_runs] == [0.1, 0.2, 0.4]
    assert [run.settings["lr"] for run in Known(toy).tuning_runs] == [0.1, 0.2]


def test_spaces_grow_within_the_narrowest_limits_of_all_arms():
    space = {"momentum": {"values": [0.8, 0.9]}}
    arms = {
        name: {"space": space, "edges": {"momentum": "high"}, "limits": {"momentum": limits}}
        for name, limits in {"a": (0.0, 1.0), "b": (0.0, 0.95), "c": (-math.inf, math.inf)}.items()
    }
    trials = [{"settings": {"momentum": m}, "score": 1.0} for m in (0.8, 0.9)]
    found = propose(arms, {"method": "grid"}, dict.fromkeys(arms, trials), 2)
    # A third of the distance to 0.95, as 0.9 was a third of that of 0.8.
    assert [grown["momentum"]["values"] for grown in found["spaces"].values()] == [
        [0.8, 0.9, pytest.approx(0.95 - 0.05 / 3, abs=1e-4)]
    ] * 3


@pytest.mark.parametrize("score", [None, math.inf, math.nan])
def test_diverged_trials_drive_the_next_ones_away(score):
    pytest.importorskip("optuna", reason="optuna is an option of the search")
    rates = [round(0.001 * 1.26**k, 5) for k in range(30)]
    history = [({"lr": lr}, 1.0 + 0.01 * lr if lr < 0.05 else score) for lr in rates]
    proposed = [point["lr"] for point in tpe_points({"lr": RANGE}, history, 8, seed=0)]
    assert sum(lr < 0.05 for lr in proposed) >= 6


def test_new_points_of_a_box_are_those_of_the_search_s_own_seed():
    arms = {"a": {"space": {"lr": RANGE}, "edges": {"lr": "high"}, "limits": {}}}
    found = [
        propose(arms, {"method": "sobol", "trials": 4, "search_seed": seed}, {"a": []}, 2)
        for seed in (0, 5)
    ]
    assert found[0]["spaces"] == found[1]["spaces"] and found[0]["points"] != found[1]["points"]


@pytest.mark.parametrize("extensions", [0, 3])
def test_a_grid_has_its_own_round_and_its_extensions(tmp_path, extensions):
    assert study(tmp_path, {"extensions": extensions}).rounds == 1 + extensions


@given(u=st.floats(0, 1, exclude_max=True))
def test_every_value_of_a_list_has_an_equal_share(u):
    assert Choice(("a", "b", "c")).at(u) == "abc"[int(3 * u)]
