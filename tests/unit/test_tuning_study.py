"""A simulated study of known truth, through points, selection, edges, best-of-k and contrast."""

import math

import numpy as np
import pytest

from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.tuning.budget import best_of_k
from muonlab.tuning.selection import edges, scored_trials, select_trials
from muonlab.tuning.space import grid_points, sobol_points
from muonlab.tuning.widening import extended, further_points

TUNING = {"score": "final", "seeds": [101, 102]}
BOX = {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}
GRID = {"lr": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
# Each arm's floor, best rate, and curvature in squared natural logarithms of the rate.
ARMS = {"adamw": (2.10, 1e-3, 0.05), "muon": (2.00, 2e-2, 0.03)}
SEED_SD, RUN_SD = 0.05, 0.01


def expected_loss(arm, lr):
    floor, best, curvature = ARMS[arm]
    return floor + curvature * np.log(lr / best) ** 2


class Study:
    """Final losses with a shift that all runs of a seed share, and noise of each run's own."""

    def __init__(self, seed, diverges_above=math.inf):
        self.generator = np.random.default_rng(seed)
        self.shifts, self.diverges_above = {}, diverges_above

    def loss(self, arm, lr, seed):
        if lr > self.diverges_above:
            return None
        shift = self.shifts.setdefault(seed, self.generator.normal(0, SEED_SD))
        return float(expected_loss(arm, lr) + shift + self.generator.normal(0, RUN_SD))

    def trials(self, points):
        records = []
        for arm in ARMS:
            for point in points:
                for seed in TUNING["seeds"]:
                    loss = self.loss(arm, point["lr"], seed)
                    record = {"arm": arm, "settings": point, "seed": seed, "final_loss": loss}
                    records.append(record | {"best_loss": loss, "diverged": loss is None})
        return records


@pytest.mark.parametrize("points", [grid_points(GRID), sobol_points(BOX, 16, seed=7)])
@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_the_best_rate(points, seed):
    found = select_trials(Study(seed).trials(points), TUNING, dict.fromkeys(ARMS, BOX))
    for arm, (_, best, _) in ARMS.items():
        # No point is nearer than the nearest; the noise may pick the second nearest.
        distances = sorted(abs(math.log(p["lr"] / best)) for p in points)
        assert abs(math.log(found["arms"][arm]["settings"]["lr"] / best)) <= distances[1] + 1e-9
        assert found["arms"][arm]["edges"] == {}


@pytest.mark.parametrize("seed", range(5))
def test_a_box_without_the_best_rate_says_so_and_grows_to_hold_it(seed):
    boxes = {arm: {"lr": {"low": 1e-4, "high": 3e-3, "log": True}} for arm in ARMS}
    points = sobol_points(boxes["muon"], 32, seed=1)
    study = Study(seed)
    found = select_trials(study.trials(points), TUNING, boxes)
    edge = {arm: chosen["edges"] for arm, chosen in found["arms"].items()}
    assert edge == {"adamw": {}, "muon": {"lr": "high"}}
    wider = extended(boxes, edge)
    assert wider["adamw"] == wider["muon"] and wider["muon"]["lr"]["high"] > 1e-2
    new = further_points(boxes["muon"], wider["muon"], points, 8, seed=1)
    after = select_trials(study.trials(points + new), TUNING, wider)
    assert after["arms"]["muon"]["settings"] in new
    assert after["arms"]["adamw"]["settings"] in points


def test_a_grid_without_the_best_rate_says_so():
    for rates, side in ((GRID["lr"][:4], "high"), (GRID["lr"][-1:-3:-1] + [0.3], "low")):
        found = select_trials(Study(0).trials(grid_points({"lr": rates})), TUNING)
        assert found["arms"]["muon"]["edges"] == {"lr": side}


def test_rates_that_diverge_are_ranked_last_and_count_against_the_budget():
    study = Study(3, diverges_above=2e-3)
    trials = study.trials(grid_points(GRID))
    found = select_trials(trials, TUNING)
    assert found["arms"]["muon"]["settings"] == {"lr": 1e-3}
    scores = [t["score"] for t in scored_trials([t for t in trials if t["arm"] == "muon"], "final")]
    assert [math.isinf(s) for s in scores] == [False] * 3 + [True] * 4
    budget = best_of_k(scores)
    assert [math.isinf(b.expected) for b in budget] == [True] * 4 + [False] * 3
    assert budget[-1].expected == found["arms"]["muon"]["score"] == budget[-1].low


def test_the_best_of_k_of_random_searches_is_that_of_their_distribution():
    # Rates from the best one to w above it in ln(lr): the excess loss is c·w²·(uniform)², and
    # E[min of k] = c·w²·2 / ((k + 1)(k + 2)).
    width = math.log(100)
    rates = 1e-3 * np.exp(width * np.random.default_rng(0).random((400, 16)))
    excess = expected_loss("adamw", rates) - 2.10
    searches = [[b.expected for b in best_of_k(row, resamples=1)] for row in excess]
    for k, found in enumerate(np.transpose(searches), 1):
        want = 0.05 * width**2 * 2 / ((k + 1) * (k + 2))
        assert abs(found.mean() - want) < 4 * found.std() / np.sqrt(400)


@pytest.mark.parametrize(
    ("chosen", "space", "expected"),
    [
        (1.3e-4, BOX["lr"], "low"),  # log10: 0.04 of the width from the end
        (1.6e-4, BOX["lr"], None),
        (6e-2, BOX["lr"], None),
        (8e-2, BOX["lr"], "high"),
        (0.96, {"low": 0.0, "high": 1.0}, "high"),
        (0.0, {"low": 0.0, "high": 1.0}, None),  # nothing lies below 0
        (3, {"low": 3, "high": 7}, "low"),
        (0.3, {"values": [0.3, 0.1, 0.2]}, "high"),
        (0.0, [0.0, 0.1, 0.2], None),
        (10, [10, "auto", 5], "high"),
        ("auto", [10, "auto", 5], None),
        (True, [True, False], None),
        (0.1, [0.1, "auto"], None),
    ],
)
def test_edges_of_ranges_and_of_lists(chosen, space, expected):
    assert edges({"x": chosen}, {"x": space}) == ({"x": expected} if expected else {})


def simulated_contrasts(studies, rng):
    """Truth and paired test of muon − adamw of each study, tuned on 2 seeds and reported on 5."""
    rates = np.array(GRID["lr"])
    chosen = {}
    tuned = rng.normal(0, SEED_SD, (studies, 2))
    for arm in ARMS:
        losses = expected_loss(arm, rates) + tuned[:, :, None]
        losses = losses + rng.normal(0, RUN_SD * 5, (studies, 2, len(rates)))
        chosen[arm] = [_selected(arm, rates, study) for study in losses]
    truth = expected_loss("muon", np.array(chosen["muon"])) - expected_loss(
        "adamw", np.array(chosen["adamw"])
    )
    shifts = rng.normal(0, SEED_SD, (studies, 5))
    reported = {
        arm: expected_loss(arm, np.array(chosen[arm]))[:, None]
        + shifts
        + rng.normal(0, RUN_SD * 5, (studies, 5))
        for arm in ARMS
    }
    return truth, [paired_t(a, b) for a, b in zip(reported["muon"], reported["adamw"], strict=True)]


def _selected(arm, rates, losses):
    trials = [
        {
            "arm": arm,
            "settings": {"lr": float(lr)},
            "seed": seed,
            "final_loss": loss,
            "best_loss": loss,
            "diverged": False,
        }
        for seed, row in zip(TUNING["seeds"], losses.tolist(), strict=True)
        for lr, loss in zip(rates, row, strict=True)
    ]
    return select_trials(trials, TUNING)["arms"][arm]["settings"]["lr"]


def test_intervals_of_the_contrast_cover_the_truth_in_95_percent_of_studies():
    truth, tests = simulated_contrasts(2000, np.random.default_rng(2026))
    assert len(set(truth.round(6))) > 1  # the noise of tuning does change what is chosen
    low, high = np.array([t.low for t in tests]), np.array([t.high for t in tests])
    coverage = np.mean((low <= truth) & (truth <= high))
    assert 0.93 <= coverage <= 0.97
