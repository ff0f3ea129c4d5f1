"""Choosing trials, and edges of the grid."""

import pytest

from muonlab.io.errors import UserError
from muonlab.tuning.selection import edges, select_trials

TUNING = {"score": "final", "seeds": [1, 2]}


def trials(arm, losses):
    """losses: {lr: [(final, best), …]}, one pair a seed; None for a diverged run."""
    return [
        {
            "arm": arm,
            "settings": {"lr": lr},
            "seed": seed,
            "final_loss": pair and pair[0],
            "best_loss": pair and pair[1],
            "diverged": pair is None,
        }
        for lr, pairs in losses.items()
        for seed, pair in enumerate(pairs, 1)
    ]


def test_the_lowest_mean_over_seeds_wins():
    # 0.1 has the single best seed, 0.2 the better mean.
    found = select_trials(
        trials("a", {0.1: [(1.0, 1.0), (3.0, 2.0)], 0.2: [(1.5, 1.2), (1.6, 1.1)]}), TUNING
    )
    assert found["arms"]["a"]["settings"] == {"lr": 0.2}
    assert found["arms"]["a"]["score"] == pytest.approx(1.55)


def test_the_lowest_loss_reached_can_be_the_score():
    found = select_trials(
        trials("a", {0.1: [(1.0, 1.0)], 0.2: [(9.0, 0.5)]}), TUNING | {"score": "minimum"}
    )
    assert found["arms"]["a"]["settings"] == {"lr": 0.2}


def test_a_trial_with_a_diverged_seed_is_last_and_stays_in_the_record():
    found = select_trials(
        trials("a", {0.1: [(0.1, 0.1), None], 0.2: [(9.0, 9.0), (9.0, 9.0)]}), TUNING
    )
    assert found["arms"]["a"]["settings"] == {"lr": 0.2}
    assert len(found["trials"]) == 4


def test_an_arm_of_which_all_trials_diverged_is_a_clear_sentence():
    with pytest.raises(UserError, match="every trial of the arm a diverged"):
        select_trials(trials("a", {0.1: [None]}), TUNING)


def test_a_losing_rate_moves_no_choice():
    few = trials("a", {0.1: [(0.5, 0.3)], 0.2: [(0.6, 0.5)]})
    more = few + trials("a", {0.3: [(0.9, 0.9)]})
    one, two = select_trials(few, TUNING), select_trials(more, TUNING)
    assert one["arms"]["a"]["settings"] == two["arms"]["a"]["settings"]


@pytest.mark.parametrize(
    ("chosen", "expected"), [(0.1, {"lr": "low"}), (0.2, {}), (0.3, {"lr": "high"})]
)
def test_edges(chosen, expected):
    assert edges({"lr": chosen}, {"lr": [0.3, 0.1, 0.2]}) == expected


def test_a_field_with_one_value_or_of_text_has_no_edge():
    assert edges({"lr": 0.1, "scale": "none"}, {"lr": [0.1], "scale": ["none", "original"]}) == {}


def test_a_seed_that_diverged_with_a_finite_loss_ranks_its_trial_last_too():
    """A loss that ended above its start is a number, and the run diverged all the same."""
    records = trials("a", {0.1: [(0.1, 0.1), (0.2, 0.2)], 0.2: [(9.0, 9.0), (9.0, 9.0)]})
    records[1]["diverged"] = True
    found = select_trials(records, TUNING)
    assert found["arms"]["a"]["settings"] == {"lr": 0.2}
