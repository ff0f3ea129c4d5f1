"""Rounds of a search that begins coarse and becomes finer, and fields that such a search tunes."""

import math
from statistics import fmean

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.runs import load_plan
from muonlab.tuning import draws
from muonlab.tuning.rounds import next_round, propose
from muonlab.tuning.selection import edges, select_trials
from muonlab.tuning.space import Scale, axes, sobol_points
from muonlab.tuning.tpe import STARTUP, tpe_points
from muonlab.tuning.zoom import finer_points, trials_of_round

BOX = {
    "lr": {"low": 1e-3, "high": 1e-1, "log": True},
    "momentum": {"low": 0.5, "high": 0.99, "log": True, "from_one": True},
    "ns_steps": {"low": 3, "high": 9},
}
TUNING = {"method": "zoom", "trials": 16, "rounds": 2, "search_seed": 0, "score": "final"}
TUNING |= {"seeds": [7, 8], "extensions": 2}


def scored(points, loss):
    return [{"settings": p, "score": loss(p), "losses": [loss(p)] * 2} for p in points]


@settings(max_examples=50, deadline=None)
@given(trials=st.integers(1, 60), rounds=st.integers(1, 8))
def test_the_rounds_share_out_all_trials(trials, rounds):
    assume(trials >= rounds)
    shares = [trials_of_round(trials, rounds, 1 + i) for i in range(rounds)]
    assert sum(shares) == trials and min(shares) >= 1


@settings(max_examples=40, deadline=None)
@given(log_lr=st.floats(-3, -1), decay=st.floats(math.log(0.01), math.log(0.5)),
       seed=st.integers(0, 1000))  # fmt: skip
def test_finer_trials_lie_around_the_best_and_are_new(log_lr, decay, seed):
    first = sobol_points(BOX, 8, seed)
    best_lr, best_momentum = 10**log_lr, 1 - math.exp(decay)

    def loss(p):
        return abs(math.log(p["lr"] / best_lr)) + abs(
            math.log((1 - p["momentum"]) / (1 - best_momentum))
        )

    known = scored(first, loss)
    best = min(known, key=lambda trial: trial["score"])["settings"]
    limits = {"momentum": (0, 1), "ns_steps": (1, 100)}
    hull, points = finer_points(BOX, known, 2, TUNING | {"search_seed": seed}, limits)
    assert len(points) == 8 and all(p not in first for p in points)
    for point in points:
        # Half of a box two decades wide, centred on the best, reaches half a decade to each side.
        assert abs(math.log10(point["lr"] / best["lr"])) <= 0.5 + 0.01
        assert 0 <= point["momentum"] < 1 and 1 <= point["ns_steps"] <= 100
        for field, axis in axes(hull).items():
            assert axis.holds(point[field])


def test_a_best_trial_on_an_edge_is_followed_beyond_it():
    space = {"lr": BOX["lr"]}
    known = scored([{"lr": 0.1}, {"lr": 0.01}], lambda p: -p["lr"])
    hull, points = finer_points(space, known, 2, TUNING, {"lr": (0, math.inf)})
    highest = max(p["lr"] for p in points)
    assert 0.1 < highest <= 0.1 * 10**0.5 + 0.001
    assert hull["lr"] == {"low": 0.01, "high": highest, "log": True}


def test_whole_numbers_from_zero_stay_whole_and_zero_is_no_edge():
    space = {"training.warmup_steps": {"low": 0, "high": 40}}
    known = scored([{"training.warmup_steps": n} for n in (0, 20, 40)],
                   lambda p: p["training.warmup_steps"])  # fmt: skip
    limits = {"training.warmup_steps": (0, math.inf)}
    tuning = TUNING | {"trials": 8}
    hull, points = finer_points(space, known, 2, tuning, limits)
    values = [point["training.warmup_steps"] for point in points]
    assert all(isinstance(value, int) and 0 <= value <= 40 for value in values)
    assert hull["training.warmup_steps"] == {"low": 0, "high": 40, "log": False}
    # The next round still draws whole numbers, and the best trial, 0, lies on no edge.
    _, more = finer_points(hull, known, 3, tuning, limits)
    assert all(isinstance(point["training.warmup_steps"], int) for point in more)
    assert edges({"training.warmup_steps": 0}, hull) == {}


def test_a_best_listed_value_on_an_edge_gets_a_neighbour():
    space = {"lr": BOX["lr"], "ns_steps": [3, 5, 7]}
    known = scored([{"lr": 0.01, "ns_steps": 7}, {"lr": 0.02, "ns_steps": 3}],
                   lambda p: -p["ns_steps"])  # fmt: skip
    hull, _ = finer_points(space, known, 2, TUNING, {"ns_steps": (1, 100)})
    assert hull["ns_steps"] == {"values": [3, 5, 7, 9]}


@settings(max_examples=60, deadline=None)
@given(value=st.floats(0.5, 0.999))
def test_the_scale_from_one_spreads_distances_from_one(value):
    scale = Scale(True, True)
    assert scale.back(scale.to(value)) == pytest.approx(value)
    # Equal ratios of distances are equal lengths.
    lengths = scale.to(1 - (1 - value) / 2) - scale.to(value)
    assert lengths == pytest.approx(math.log(2))


def test_points_of_such_a_range_are_evenly_spread_by_decades_of_the_distance():
    space = {"momentum": {"low": 0.0, "high": 0.999, "log": True, "from_one": True}}
    distances = [1 - p["momentum"] for p in sobol_points(space, 300, 1)]
    for low, high in ((1e-3, 1e-2), (1e-2, 1e-1), (1e-1, 1)):
        share = sum(low <= d < high for d in distances) / len(distances)
        assert share == pytest.approx(1 / 3, abs=0.03)
    assert edges({"momentum": 0.9988}, space) == {"momentum": "high"}
    assert edges({"momentum": 0.99}, space) == {}


@pytest.mark.parametrize(
    "axis",
    [
        {"low": 0.5, "high": 1.0, "log": True, "from_one": True},
        {"low": 0.5, "high": 0.9, "from_one": True},
    ],
)
def test_a_scale_from_one_needs_log_and_values_below_one(axis):
    with pytest.raises(UserError, match="from_one"):
        axes({"momentum": axis})


def study(tmp_path, tuning, arms=None):
    toy = {
        "data": "digits",
        "optimizers": {"adamw": {"name": "adamw"}, "muon": {"name": "muon"}},
        "arms": {"adamw": {"optimizer": "adamw"}, "muon": {"optimizer": "muon"}} | (arms or {}),
        "tuning": {"seeds": [7]} | tuning,
        "seeds": [1],
        "training": {"warmup_steps": 5, "schedule": "cosine"},
    }
    file = tmp_path / "one.yaml"
    file.write_text(
        yaml.safe_dump({"data": {"digits": {"source": "digits"}}, "studies": {"toy": toy}})
    )
    return load_plan([file]).studies["toy"]


def test_all_arms_get_equally_many_trials_though_one_arm_alone_is_on_an_edge(tmp_path):
    space = {"lr": BOX["lr"]}
    plan = study(tmp_path, {"method": "zoom", "trials": 8, "rounds": 2, "extensions": 1,
                            "box": space})  # fmt: skip
    assert plan.rounds == 3
    best_rates, proposals = {"adamw": 0.01, "muon": 10.0}, []
    for number in (2, 3):
        known = Known(plan, proposals)
        trials = [
            record | {"final_loss": loss, "best_loss": loss, "diverged": False}
            for record in known.trial_records
            for loss in [abs(math.log(record["settings"]["lr"] / best_rates[record["arm"]]))]
        ]
        proposals.append(next_round(trials, plan.tuning, known.spaces, known.limits, number))
    found = Known(plan, proposals).trials
    assert {arm: len(trials) for arm, trials in found.items()} == {"adamw": 12, "muon": 12}
    assert max(t["lr"] for t in found["muon"]) > 0.1  # followed beyond its box
    assert max(t["lr"] for t in found["adamw"]) <= 0.1


def test_fields_of_the_schedule_and_of_the_other_optimizer_can_be_tuned(tmp_path):
    box = {"training.warmup_steps": {"low": 1, "high": 40}, "adamw.beta1": [0.8, 0.9]}
    plan = study(tmp_path, {"method": "zoom", "trials": 4, "box": {"lr": BOX["lr"]}},
                 {"adamw": {"optimizer": "adamw", "tune": True},
                  "muon": {"optimizer": "muon", "box": box, "unequal_search": True}})  # fmt: skip
    for run in plan.tuning_runs({"adamw": [], "muon": [t.settings for t in
                                                       plan.arms["muon"].trials]}):  # fmt: skip
        assert run.config["training"]["warmup_steps"] == run.settings["training.warmup_steps"]
        assert run.config["optimizer"]["adamw"]["beta1"] == run.settings["adamw.beta1"]


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"muon": {"optimizer": "muon", "box": {"lr": BOX["lr"], "momentum": [0.9, 0.95]}}},
         "equally many tuned fields, not adamw 1, muon 2"),
        ({"adamw": {"optimizer": "adamw", "box": {"lr": BOX["lr"], "beta2": [0.9, 0.95]}},
          "muon": {"optimizer": "muon", "box": {"lr": BOX["lr"], "momentum": [0.9, 0.95]}}},
         "muon is tuned over momentum and adamw not over its own"),
        ({"muon": {"optimizer": "muon", "box": {"beta2": [0.9, 0.95]}}}, "not a field"),
        ({"muon": {"optimizer": "muon", "box": {"training.steps": [1, 2]}}}, "not a field"),
        ({"muon": {"optimizer": "muon", "box": {"adamw.beta1": [0.9, 1.5]}}}, "less than 1"),
    ],
)  # fmt: skip
def test_a_side_with_another_search_is_refused_in_one_sentence(tmp_path, arms, said):
    tuning = {"method": "zoom", "trials": 4, "box": {"lr": BOX["lr"]}}
    with pytest.raises(UserError, match=said) as refusal:
        study(tmp_path, tuning, arms)
    assert "\n" not in str(refusal.value)


def test_sides_that_are_both_tuned_over_their_momentum_are_searched_alike(tmp_path):
    arms = {
        "adamw": {"optimizer": "adamw", "box": {"lr": BOX["lr"], "beta1": [0.6, 0.9]}},
        "muon": {"optimizer": "muon", "box": {"lr": BOX["lr"], "momentum": [0.6, 0.9]}},
    }
    tuning = {"method": "zoom", "trials": 4, "box": {"lr": BOX["lr"]}}
    assert study(tmp_path, tuning, arms).arms["adamw"].space.keys() == {"lr", "beta1"}


def test_a_factor_on_lr_moves_the_matrices_alone(tmp_path):
    arms = {"double": {"base": "muon", "multiply": {"optimizer.lr": 2.0}, "tune": False}}
    plan = study(tmp_path, {"grid": {"lr": [0.01]}}, arms)
    chosen = {"lr": 0.01, "embedding_ratio": 5.0}
    plain, double = (plan.arms[arm].optimizer(chosen) for arm in ("muon", "double"))
    assert double["lr"] == 2 * plain["lr"]
    for ratio in ("embedding_ratio", "head_ratio", "vector_ratio"):
        assert double["lr"] * double[ratio] == pytest.approx(plain["lr"] * plain[ratio])


def test_the_runner_up_is_told_with_its_distance_by_seed():
    def trial(lr, *losses):
        return [
            {"arm": "a", "settings": {"lr": lr}, "seed": s, "final_loss": x, "best_loss": x,
             "diverged": False} for s, x in enumerate(losses)
        ]  # fmt: skip

    trials = [*trial(0.1, 1.0, 1.2), *trial(0.2, 1.1, 1.15), *trial(0.3, 3.0, 3.0)]
    arm = select_trials(trials, TUNING)["arms"]["a"]
    assert arm["settings"] == {"lr": 0.1} and arm["trials"] == 3
    assert arm["runner_up"]["settings"] == {"lr": 0.2}
    assert arm["runner_up"]["behind"] == pytest.approx([0.1, -0.05])
    assert select_trials(trial(0.1, 1.0, 1.2), TUNING)["arms"]["a"]["runner_up"] is None


DECAY = {"momentum": {"low": 0.0, "high": 0.95, "log": True, "from_one": True}}


def test_an_arm_that_is_searched_alone_gets_and_gives_no_extra_trials():
    space = {"lr": BOX["lr"]}
    known = scored([{"lr": lr} for lr in (0.003, 0.01, 0.03)], lambda p: p["lr"])

    def proposed(edges, number=3):
        arms = {
            name: {
                "space": space,
                "limits": {},
                "edges": edges.get(name, {}),
                "alone": name == "frozen",
                "budget": 4 if name == "frozen" else 8,
            }
            for name in ("adamw", "muon", "frozen")
        }
        tuning = TUNING | {"trials": 8}
        found = propose(arms, tuning, dict.fromkeys(arms, known), number)["points"]
        return [len(found[name]) for name in arms]

    low = {"lr": "low"}
    assert proposed({}, number=2) == [4, 4, 2]
    assert proposed({}) == [0, 0, 0]
    assert proposed({"frozen": low}) == [0, 0, 2]
    assert proposed({"muon": low}) == [4, 4, 0]


def test_a_decay_rate_of_zero_is_no_edge_before_and_after_a_finer_round():
    assert edges({"momentum": 0.001}, DECAY) == {}
    known = scored([{"momentum": m} for m in (0.02, 0.3, 0.8)], lambda p: p["momentum"])
    hull, points = finer_points(DECAY, known, 2, TUNING | {"trials": 8}, {"momentum": (0, 1)})
    assert hull["momentum"]["low"] == 0 and min(p["momentum"] for p in points) >= 0
    assert edges({"momentum": min(0.02, *(p["momentum"] for p in points))}, hull) == {}


def test_trials_of_its_own_need_a_declared_unequal_search_and_enough_of_them(tmp_path):
    tuning = {"method": "zoom", "trials": 8, "box": {"lr": BOX["lr"]}}
    arm = {"optimizer": "muon", "trials": 4}
    with pytest.raises(UserError, match="arms.muon: trials needs unequal_search: true"):
        study(tmp_path, tuning, {"muon": arm})
    found = study(tmp_path, tuning, {"muon": arm | {"unequal_search": True}}).arms["muon"]
    assert (found.budget, found.alone, len(found.trials)) == (4, True, 2)
    with pytest.raises(UserError, match=r"arms.muon.trials: \(1\) must be at least tuning.rounds"):
        study(tmp_path, tuning, {"muon": arm | {"unequal_search": True, "trials": 1}})


def test_tpe_proposes_decay_rates_inside_a_range_from_one():
    pytest.importorskip("optuna")
    axis = axes(DECAY)["momentum"]
    history = [({"momentum": axis.at(i / STARTUP)}, abs(i - 7)) for i in range(STARTUP)]
    points = tpe_points(DECAY, history, 6, seed=0)
    assert len(points) == 6 and all(axis.holds(p["momentum"]) for p in points)
    best = axis.scale.to(axis.at(0.7))
    away = fmean(abs(axis.scale.to(p["momentum"]) - best) for p in points)
    assert away < 0.3 * axis.scale.to(0.95), "around the best, on the range's own scale"


def test_the_published_protocol_needs_no_other_method_of_tuning(tmp_path):
    toy = {
        "data": "digits",
        "optimizers": {"adamw": {"name": "adamw"}},
        "seeds": [1],
        "arms": {"adamw": {"optimizer": "adamw"}},
        "protocols": ["fair", "published"],
        "tuning": {"seeds": [7], "method": "zoom"},
    }
    file = tmp_path / "one.yaml"
    content = {"data": {"digits": {"source": "digits"}}, "studies": {"toy": toy}}
    file.write_text(yaml.safe_dump(content))
    assert set(load_plan([file]).studies) == {"toy", "toy_published"}


@pytest.fixture
def kept(tmp_path):
    draws.keep_in(tmp_path / "draws.json")
    yield tmp_path / "draws.json"
    draws.keep_in(None)


def test_points_are_those_of_scipy_whether_they_were_kept_or_not(kept):
    from scipy.stats import qmc

    sampler = qmc.Sobol(2, rng=5)
    rows = [row for m in (4, 4, 5, 6) for row in sampler.random_base2(m).tolist()]
    assert [row for i in range(4) for row in draws.block(2, 5, i)] == rows
    draws.keep_in(kept)  # as in a new process
    assert [row for i in range(4) for row in draws.block(2, 5, i)] == rows
    fresh = sobol_points(BOX, 40, 3)
    draws.keep_in(None)
    assert sobol_points(BOX, 40, 3) == fresh


@pytest.mark.parametrize(
    "content", ["", "[]", '{"scipy": "0.1", "blocks": {"2/5/0": [[9, 9]]}}', '{"scipy": 3}']
)
def test_a_file_of_another_version_or_of_nothing_is_drawn_again(kept, content):
    expected = draws.block(2, 5, 0)
    kept.write_text(content)
    draws.keep_in(kept)
    assert draws.block(2, 5, 0) == expected


def test_whole_numbers_on_a_logarithmic_scale_stay_at_one_or_more():
    field = "training.warmup_steps"
    space = {"lr": {"low": 0.1, "high": 1.0}, field: {"low": 1, "high": 16, "log": True}}
    tuning = {"trials": 8, "rounds": 2, "search_seed": 0}
    for best in (1, 2, 16):
        scored = [{"settings": {"lr": 0.5, field: best}, "score": 1.0}]
        scored.append({"settings": {"lr": 0.2, field: 5}, "score": 2.0})
        # The field itself may be 0.
        _, points = finer_points(space, scored, 2, tuning, {field: (0, math.inf)})
        values = [point[field] for point in points]
        assert len(values) == 4 and all(isinstance(v, int) and v >= 1 for v in values)


def test_an_arm_is_searched_as_its_base_of_the_same_optimizer(tmp_path):
    own = {"lr": BOX["lr"], "momentum": {"low": 0.5, "high": 0.9}}
    plan = study(tmp_path, {"method": "zoom", "trials": 4, "box": {"lr": BOX["lr"]}},
                 {"adamw": {"optimizer": "adamw"},
                  "muon": {"optimizer": "muon", "box": own, "unequal_search": True},
                  "plain": {"base": "muon", "set": {"optimizer.nesterov": False},
                            "unequal_search": True},
                  "wide": {"base": "plain", "set": {"model.width": 8}, "unequal_search": True},
                  "fixed": {"base": "wide", "set": {"optimizer.momentum": 0.9}},
                  "other": {"base": "wide", "optimizer": "adamw", "compound": True}})  # fmt: skip
    spaces = {name: set(arm.space) for name, arm in plan.arms.items()}
    both = {"lr", "momentum"}
    fixed = plan.arms["fixed"]
    assert spaces.pop("fixed") == {"lr"}, "what an arm sets is not tuned"
    assert fixed.optimizer({"lr": 0.1})["momentum"] == 0.9
    assert spaces == {"adamw": {"lr"}, "muon": both, "plain": both, "wide": both, "other": {"lr"}}
