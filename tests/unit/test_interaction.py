"""The 2 × 2 ablation: effects of a known model, the right way round, against the linear model."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from muonlab.statistics.interaction import ROLES, interaction_table, two_by_two


def losses_of(benefit_a, benefit_b, synergy, n=6, noise=0.0, seed=0):
    """Losses of the four arms where a and b each lower the loss, and more together by `synergy`."""
    generator = np.random.default_rng(seed)
    seeds = generator.uniform(4, 6, n)
    values = {
        "full": seeds - benefit_a - benefit_b - synergy,
        "without_a": seeds - benefit_b,
        "without_b": seeds - benefit_a,
        "neither": seeds,
    }
    return {role: v + noise * generator.normal(size=n) for role, v in values.items()}


def effects(losses, **options):
    rows = two_by_two(**losses, **options)
    return {(row["effect"], row["component"]): row for row in rows}


@settings(max_examples=40, deadline=None)
@given(a=st.floats(-2, 2), b=st.floats(-2, 2), synergy=st.floats(-2, 2))
def test_effects_of_a_known_model(a, b, synergy):
    found = {key: row["value"] for key, row in effects(losses_of(a, b, synergy)).items()}
    want = {
        ("contribution", "a"): a + synergy,
        ("contribution", "b"): b + synergy,
        ("alone", "a"): a,
        ("alone", "b"): b,
        ("main effect", "a"): a + synergy / 2,
        ("main effect", "b"): b + synergy / 2,
        ("difference of contributions", "a − b"): a - b,
        ("synergy", "a and b"): synergy,
    }
    assert found == pytest.approx(want, abs=1e-9)


def test_a_contribution_is_what_removing_the_component_costs():
    # Removing Newton–Schulz costs 2.9 and removing momentum 1.3: it contributes more, not less.
    arms = {
        "full": [1.0, 1.1, 0.9],
        "without_a": [3.9, 4.1, 3.7],
        "without_b": [2.3, 2.3, 2.3],
        "neither": [5.0, 5.1, 4.7],
    }
    found = effects(arms, names=("Newton–Schulz", "momentum"))
    assert found["contribution", "Newton–Schulz"]["value"] == pytest.approx(2.9)
    assert found["contribution", "momentum"]["value"] == pytest.approx(1.3)
    difference = found["difference of contributions", "Newton–Schulz − momentum"]
    assert difference["value"] == pytest.approx(1.6) and difference["low"] > 0
    # Removing both costs 3.93, less than 2.9 + 1.3: part of each contribution needs the other.
    assert found["synergy", "Newton–Schulz and momentum"]["value"] == pytest.approx(4.2 - 11.8 / 3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 9))
def test_intervals_and_p_are_the_t_test_of_the_contrast_per_seed(seed, n):
    losses = losses_of(0.3, 0.5, 0.2, n=n, noise=0.3, seed=seed)
    found = effects(losses)
    # Contrast vectors over (full, without_a, without_b, neither).
    vectors = {
        ("contribution", "a"): [-1, 1, 0, 0],
        ("main effect", "b"): [-0.5, -0.5, 0.5, 0.5],
        ("synergy", "a and b"): [-1, 1, 1, -1],
    }
    for key, vector in vectors.items():
        per_seed = np.array(vector) @ np.stack([losses[role] for role in ROLES])
        test = stats.ttest_1samp(per_seed, 0)
        interval = test.confidence_interval()
        row = found[key]
        got = (row["value"], row["t"], row["df"], row["p"], row["low"], row["high"])
        want = (per_seed.mean(), test.statistic, n - 1, test.pvalue, interval.low, interval.high)
        assert got == pytest.approx(want, rel=1e-6) and row["n"] == n


def test_a_diverged_arm_takes_only_the_effects_that_it_enters():
    losses = losses_of(0.3, 0.5, 0.2, noise=0.1)
    losses["neither"][2] = np.inf
    found = effects(losses)
    assert all(row["diverged"] == 1 for row in found.values())
    assert math.isfinite(found["contribution", "a"]["p"])
    for key in (("alone", "a"), ("main effect", "b"), ("synergy", "a and b")):
        assert math.isnan(found[key]["value"]) and math.isnan(found[key]["p"])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_seeds_give_no_number(n):
    found = effects(losses_of(0.3, 0.5, 0.2, n=n))
    assert all(math.isnan(row["value"]) and row["n"] == n for row in found.values())


def test_arms_of_unequal_length_are_refused():
    losses = losses_of(0.3, 0.5, 0.2) | {"neither": [1.0]}
    with pytest.raises(ValueError, match="must pair up by seed: full has 6.*neither has 1 values"):
        two_by_two(**losses)


def test_the_table_pairs_by_seed_and_takes_the_arms_by_their_roles():
    losses = losses_of(0.3, 0.5, 0.2, noise=0.1)
    arms = {"full": "muon", "without_a": "no_ns", "without_b": "no_momentum", "neither": "sgd"}
    table = pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "outcome": "final_loss", "value": losses[role][seed]}
            for role, arm in arms.items()
            for seed in np.random.default_rng(1).permutation(6)
        ]
    )
    found = interaction_table(table, arms, "final_loss", ("NS", "momentum"))
    for row in two_by_two(**losses, names=("NS", "momentum")):
        [got] = found[
            (found["effect"] == row["effect"]) & (found["component"] == row["component"])
        ].to_dict("records")
        assert got == pytest.approx(row)
    with pytest.raises(ValueError, match="arms must name full, without_a, without_b, neither"):
        interaction_table(table, {"full": "muon"}, "final_loss")
