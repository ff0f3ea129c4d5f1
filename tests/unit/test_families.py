"""Families in the config, the sign of differences, and simulated studies: how often intervals hold
and verdicts are wrong for every family of the default config."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_plan import plan, toy

from muonlab.io.errors import UserError
from muonlab.plan.pairs import arm_order, oriented, study_families, study_pairs
from muonlab.plan.runs import load_plan
from muonlab.plan.values import comparison
from muonlab.statistics import families as of_statistics
from muonlab.statistics.contrasts import contrasts
from muonlab.statistics.families import Families
from muonlab.statistics.verdicts import DIFFERENT, verdict

ROOT = Path(__file__).parents[2]
HEADLINE = {"outcomes": ["final_loss", "test_loss"], "pairs": [["adamw", "muon"]]}


def measure(families, **facts):
    return toy(measure={"contrasts": {"families": families}, **facts})


def default():
    return load_plan([ROOT / "config.yaml"]).studies


# ---------------------------------------------------------------- the config


def test_a_declared_family_is_resolved_with_its_signs(tmp_path):
    found = plan(tmp_path, measure({"claim": HEADLINE | {"claim": "Muon wins"}}))
    (family,) = study_families(found.studies["toy"])
    assert family == {
        "name": "claim", "claim": "Muon wins", "declared": True, "size": 2,
        "outcomes": ["final_loss", "test_loss"], "pairs": [["muon", "adamw"]],
    }  # fmt: skip


def test_patterns_take_the_outcomes_that_the_study_measures(tmp_path):
    one = {"outcomes": ["sharpness_*", "accuracy_drop_int[84]_*"], "pairs": [["muon", "adamw"]]}
    (family,) = study_families(plan(tmp_path, measure({"a": one})).studies["toy"])
    assert "sharpness_end" in family["outcomes"]
    assert {"int8", "int4"} == {name.split("_")[2] for name in family["outcomes"] if "int" in name}
    assert family["size"] == len(family["outcomes"])
    without = plan(tmp_path, measure({"a": one}, curvature=None, quantization=None))
    assert study_families(without.studies["toy"]) == []


def test_a_removed_arm_takes_its_pairs_along_and_null_removes_a_family(tmp_path):
    third = {"third": {"base": "muon", "set": {"optimizer.momentum": 0.9}, "tune": False}}
    two = {"a": {"outcomes": ["final_loss"], "arms": ["third", "muon"], "against": "adamw"}}
    layers = [toy(arms=third), measure(two | {"b": HEADLINE | {"outcomes": ["test_loss"]}})]
    study = plan(tmp_path, *layers).studies["toy"]
    assert [family["size"] for family in study_families(study)] == [2, 1]
    study = plan(tmp_path, *layers, toy(arms={"third": None})).studies["toy"]
    assert study_families(study)[0]["pairs"] == [["muon", "adamw"]]
    study = plan(tmp_path, *layers, measure({"a": None})).studies["toy"]
    assert [family["name"] for family in study_families(study)] == ["b"]


@pytest.mark.parametrize(
    ("families", "sentence"),
    [
        ({"a": HEADLINE | {"pairs": [["muon", "sgd"]]}}, "'sgd' is not an arm (there are adamw"),
        ({"a": HEADLINE | {"pairs": [["muon", "muon"]]}}, "cannot be compared with itself"),
        ({"a": HEADLINE | {"pairs": [["muon"]]}}, "at least 2 items"),
        ({"a": HEADLINE | {"pairs": []}}, "needs pairs, or arms and against"),
        ({"a": HEADLINE | {"arms": ["muon"]}}, "arms and against must be given together"),
        ({"a": HEADLINE | {"arms": ["muon"], "against": "adamw"}}, "must not be named twice"),
        ({"a": HEADLINE | {"outcomes": ["finel_loss"]}}, "'finel_loss' is not an outcome"),
        ({"a": HEADLINE | {"outcomes": ["sharp_*"]}}, "'sharp_*' is not an outcome"),
        ({"exploratory": HEADLINE}, "exploratory is the name of the comparisons that no family"),
        (
            {"a": HEADLINE, "b": {"outcomes": ["*_loss"], "pairs": [["muon", "adamw"]]}},
            "adamw and muon are compared on final_loss in both the family a and the family b",
        ),
        ({"a": HEADLINE | {"against": None, "sesoi": 1}}, "is not a known field"),
    ],
)
def test_a_wrong_family_is_refused_in_one_sentence(tmp_path, families, sentence):
    with pytest.raises(UserError) as refused:
        plan(tmp_path, measure(families))
    said = str(refused.value)
    assert sentence in said and "\n" not in said
    assert "layer1.yaml: studies.toy.measure" in said


def test_a_factorials_pairs_are_its_own(tmp_path):
    arms = {
        "no_ns": {"base": "muon", "set": {"optimizer.orthogonalize": False}, "tune": False},
        "no_momentum": {"base": "muon", "set": {"optimizer.momentum": 0.0}, "tune": False},
        "neither": {"base": "no_ns", "set": {"optimizer.momentum": 0.0}, "tune": False},
    }
    roles = {"both": "muon", "without_first": "no_ns", "without_second": "no_momentum"}
    factorials = [roles | {"label": "same rate", "neither": "neither"}]
    study = plan(tmp_path, toy(arms=arms, measure={"factorials": factorials})).studies["toy"]
    (family,) = study_families(study)
    assert family["size"] == 4 and ["no_ns", "muon"] in family["pairs"]
    assert len(family["pairs"]) == 3 and not family["declared"]
    twice = {"steps": {"outcomes": ["final_loss"], "pairs": [["muon", "no_ns"]]}}
    with pytest.raises(UserError, match="the family steps and the factorial 'same rate'"):
        plan(
            tmp_path,
            toy(arms=arms, measure={"factorials": factorials, "contrasts": {"families": twice}}),
        )


# ---------------------------------------------------------------- signs


def test_adamw_is_subtracted_wherever_it_stands():
    for study in default().values():
        kind = {name: arm.settings["optimizer"]["name"] for name, arm in study.arms.items()}
        pairs = [(pair["a"], pair["b"]) for pair in study_pairs(study)]
        families = study_families(study)
        pairs += [tuple(pair) for family in families for pair in family["pairs"]]
        for a, b in pairs:
            assert kind[b] == "adamw" or kind[a] != "adamw"
            order = arm_order(study)
            assert oriented(order, a, b) == oriented(order, b, a) == (a, b)
        assert len({frozenset(pair) for pair in pairs}) == len(set(pairs)), "one sign for a pair"


def test_a_base_is_subtracted_from_what_starts_from_it(tmp_path):
    late = {"early": {"base": "late", "set": {"optimizer.momentum": 0.5}, "tune": False}}
    late |= {"late": {"base": "muon", "set": {"optimizer.momentum": 0.9}, "tune": False}}
    study = plan(tmp_path, toy(arms=late)).studies["toy"]
    assert arm_order(study) == ["adamw", "muon", "late", "early"]
    ranked = plan(tmp_path, toy(arms=late, measure={"ranking": "early"})).studies["toy"]
    assert arm_order(ranked) == ["adamw", "early", "muon", "late"]


def test_a_ranking_compares_every_arm_and_every_twin():
    study = default()["ablation"]
    of = {frozenset((pair["a"], pair["b"])): pair for pair in study_pairs(study)}
    for arm in study.arms:
        if arm != "muon_95" and arm not in study.measure["unranked"]:
            assert "final_loss" in (of[frozenset((arm, "muon_95"))]["outcomes"] or ["final_loss"])
    (ranked,) = [f for f in study_families(study) if f["name"] == "ranking against muon_95"]
    assert not {arm for pair in ranked["pairs"] for arm in pair} & set(study.measure["unranked"])
    assert of[frozenset(("optimal_rms", "muon_rms"))]["outcomes"] == ["final_loss"]
    assert of[frozenset(("adamw", "muon"))]["outcomes"] == []
    assert all(pair["a"] != pair["b"] for pair in of.values())
    (twins,) = [f for f in study_families(study) if f["name"] == "ranking of twins"]
    assert len(twins["pairs"]) == twins["size"] and ["muon_rms", "muon_rms"] not in twins["pairs"]


def test_the_gaps_of_a_waterfall_are_a_family_without_those_of_claims_and_of_parts():
    study = default()["moe"]
    (family,) = [f for f in study_families(study) if f["name"] == "waterfall"]
    steps = study.measure["waterfall"]
    asked = {(s["a"], s["b"]) for s in steps if s["outcome"] == "final_loss"}
    assert {tuple(pair) for pair in family["pairs"]} == asked - {("muon", "adamw")}
    assert family["size"] == len(family["pairs"]) and family["outcomes"] == ["final_loss"]


# ---------------------------------------------------------------- simulated studies

STUDIES, SEEDS, ALPHA = 8000, 5, 0.05


@cache
def real_families():
    """(study, name, outcomes, pairs, size) of every family of the default config, and of what is
    exploratory on the final loss."""
    found = []
    for name, study in default().items():
        declared = study_families(study)
        found += [
            (name, f["name"], tuple(f["outcomes"]), tuple(map(tuple, f["pairs"])), f["size"])
            for f in declared
        ]
        taken = {
            tuple(pair) for f in declared if "final_loss" in f["outcomes"] for pair in f["pairs"]
        }
        pairs = [(p["a"], p["b"]) for p in study_pairs(study) if not p["outcomes"]]
        rest = tuple(pair for pair in pairs if pair not in taken)
        if not rest:  # every comparison on the final loss belongs to a claim
            continue
        families = Families(declared, [("final_loss", *pair) for pair in pairs])
        size = families.of("final_loss", *rest[0]).size
        assert size == len(rest)
        found.append((name, of_statistics.EXPLORATORY, ("final_loss",), rest, size))
    return found


def simulated(outcomes, pairs, rng, spread=0.0):
    """True differences (m,), and the paired differences of many studies, shape (m, STUDIES, SEEDS).

    Runs of one seed share an effect, outcomes of one run are alike, and arms differ in variance as
    much as tuned optimizers do.
    """
    arms = list(dict.fromkeys(arm for pair in pairs for arm in pair))
    noise = dict(zip(arms, rng.uniform(0.5, 2.0, len(arms)), strict=True))
    truth = {(arm, o): spread * rng.normal() for arm in arms for o in outcomes}
    of_seed = 3 * rng.normal(size=(STUDIES, SEEDS))
    runs = {}
    for arm in arms:
        of_run = rng.normal(size=(STUDIES, SEEDS))
        for outcome in outcomes:
            own = 0.9 * of_run + math.sqrt(1 - 0.9**2) * rng.normal(size=(STUDIES, SEEDS))
            runs[arm, outcome] = truth[arm, outcome] + of_seed + noise[arm] * own
    keys = [(outcome, a, b) for outcome in outcomes for a, b in pairs]
    differences = np.stack([runs[a, o] - runs[b, o] for o, a, b in keys])
    return np.array([truth[a, o] - truth[b, o] for o, a, b in keys]), differences


def intervals(differences, level):
    """The paired t intervals of differences (…, n): what `contrasts` computes, for many studies."""
    mean, n = differences.mean(axis=-1), differences.shape[-1]
    half = stats.t.isf(level / 2, n - 1) * differences.std(axis=-1, ddof=1) / np.sqrt(n)
    return mean - half, mean + half


@pytest.mark.parametrize("case", range(len(real_families())), ids=lambda i: real_families()[i][1])
def test_the_intervals_of_a_family_hold_together_and_its_verdicts_err_at_the_nominal_rate(case):
    _, _, outcomes, pairs, size = real_families()[case]
    rng = np.random.default_rng(case)
    truth, differences = simulated(outcomes, pairs, rng, spread=0.5)
    low, high = intervals(differences, ALPHA / size)
    inside = (low <= truth[:, None]) & (truth[:, None] <= high)
    # Each interval alone has its own level; together they have the family's.
    assert inside.mean(axis=1) == pytest.approx(1 - ALPHA / size, abs=0.01)
    assert inside.all(axis=0).mean() == pytest.approx(1 - ALPHA, abs=0.02)
    # A wrong verdict is one on the wrong side, or "equivalent" for a difference that matters.
    smallest = 0.75
    equivalent = (low > -smallest) & (high < smallest)
    wrong = equivalent & (np.abs(truth) >= smallest)[:, None]
    wrong |= ~equivalent & (((low > 0).T & (truth <= 0)).T | ((high < 0).T & (truth >= 0)).T)
    assert not (wrong & inside).any(), "no verdict is wrong whose interval is right"
    assert wrong.any(axis=0).mean() <= ALPHA + 0.01
    # With no true difference at all, some arm is called better or worse in 5 % of the studies, or
    # in a few less where comparisons are alike.
    low, high = intervals(simulated(outcomes, pairs, rng)[1], ALPHA / size)
    called = ((low > 0) | (high < 0)).any(axis=0).mean()
    assert ALPHA - 0.02 <= called <= ALPHA + 0.01


def test_the_simulation_is_of_what_the_contrasts_compute():
    rng = np.random.default_rng(0)
    _, _, outcomes, pairs, size = real_families()[0]
    arms = list(dict.fromkeys(arm for pair in pairs for arm in pair))
    rows = [
        {"arm": arm, "seed": seed, "outcome": outcome, "value": rng.normal()}
        for arm in arms for outcome in outcomes for seed in range(SEEDS)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    family = {"name": "claim", "outcomes": outcomes, "pairs": pairs, "size": size}
    found = contrasts(
        table, pairs, outcomes, ALPHA, better=dict.fromkeys(outcomes, "lower"),
        families=Families([family], []),
    )  # fmt: skip
    wide = table.pivot(index="seed", columns=["arm", "outcome"], values="value")
    for row in found.itertuples():
        own = wide[row.arm_a, row.outcome] - wide[row.arm_b, row.outcome]
        low, high = intervals(own.to_numpy(), ALPHA / size)
        assert (row.low, row.high) == pytest.approx((low, high))
        told = verdict(row.difference, low, high, SEEDS, alpha=ALPHA / size, better="lower")
        assert row.verdict == told.word
        assert (row.p_adjusted < ALPHA) == (row.low > 0 or row.high < 0)


@settings(max_examples=40, deadline=None)
@given(
    data_seed=st.integers(0, 2**32 - 1), n=st.integers(4, 7), arms=st.integers(2, 5),
    shift=st.floats(0, 3), smallest=st.none() | st.floats(0.05, 3), paired=st.booleans(),
)  # fmt: skip
def test_no_row_contradicts_itself(data_seed, n, arms, shift, smallest, paired):
    rng = np.random.default_rng(data_seed)
    names = [f"arm_{i}" for i in range(arms)]
    rows = [
        {"arm": arm, "seed": seed, "outcome": "loss", "value": i * shift + rng.normal()}
        for i, arm in enumerate(names)
        for seed in range(n)
    ]
    pairs = [(arm, names[0]) for arm in names[1:]]
    sesoi = {} if smallest is None else {"loss": smallest}
    options = {"sesoi": sesoi, "paired": paired, "better": {"loss": "lower"}}
    for row in contrasts(pd.DataFrame(rows), pairs, ["loss"], **options).itertuples():
        outside = row.low > 0 or row.high < 0
        inside = smallest is not None and -smallest < row.low and row.high < smallest
        assert (row.verdict == "equivalent") == inside
        assert (row.verdict in DIFFERENT) == (outside and not inside)
        assert (row.p_adjusted < 0.05) == outside
        assert row.low < row.difference < row.high
        assert (row.needs_n > n) == (row.verdict == "undecided")
        if paired:
            assert (row.d_z_low > 0 or row.d_z_high < 0) == outside


def test_the_comparison_that_jobs_are_given_is_made_of_plain_values():
    class Known:
        study = default()["ablation"]

    given_to_jobs = comparison(Known())
    assert yaml.safe_load(yaml.safe_dump(given_to_jobs)) == given_to_jobs
    assert {"nesterov", "coefficients"} <= {f["name"] for f in given_to_jobs["families"]}
