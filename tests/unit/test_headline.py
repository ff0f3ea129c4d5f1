"""The sentences of the front page follow the tables: other numbers give other sentences."""

import dataclasses

import pandas as pd
import pytest

from muonlab.report.headline import Kept, headline


def row(outcome="test_loss", verdict="better", difference=-0.1, **more):
    sides = {"family": "muon_beats_adamw"}
    sides |= {"arm_a": "muon", "arm_b": "adamw", "n_a": 5, "n_b": 5}
    limits = {"low": difference - 0.05, "high": difference + 0.05}
    given = {"outcome": outcome, "verdict": verdict, "difference": difference, "needs_n": 40}
    return sides | limits | given | {"sesoi": 0.2} | more


def kept(folder, *rows, size="at mini size", **tables):
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "contrasts.csv", index=False)
    for name, table in tables.items():
        pd.DataFrame(table).to_csv(folder / f"{name}.csv", index=False)
    return Kept("fashion", "Images", "digits", size, "95 %", folder)


def said(*studies):
    return list(headline(studies))


@pytest.mark.parametrize(
    ("verdict", "difference", "words"),
    [
        ("better", -0.1, "Muon's test loss is lower than AdamW's (−0.100 [−0.150, −0.050] nats"),
        ("worse", 0.1, "Muon's test loss is higher than AdamW's (+0.100 [0.050, 0.150] nats"),
        ("equivalent", 0.0, "Muon and AdamW end at the same test loss, to within 0.200 nats"),
        ("undecided", 0.01, "cannot be told apart"),
        ("no verdict", -0.1, "there are too few seeds for a verdict"),
    ],
)
def test_each_verdict_has_its_sentence(tmp_path, verdict, difference, words):
    (sentence,) = said(kept(tmp_path, row(verdict=verdict, difference=difference)))
    assert sentence.startswith("**Images** (digits, at mini size): ") and words in sentence
    assert ("undecided (needs n ≈ 40)" in sentence) == (verdict == "undecided")


def test_a_replication_is_told_beside_what_it_repeats(tmp_path):
    again = kept(tmp_path / "again", row(difference=-0.2, n_a=16))
    first = dataclasses.replace(kept(tmp_path / "first", row()), again=again)
    (sentence,) = said(first)
    told = (
        "On new seeds, Muon's test loss is lower than AdamW's (−0.200 [−0.250, −0.150] nats, 95 %"
    )
    assert f"{told} interval, 16 paired seeds)." in sentence
    assert "On the new seeds" not in sentence
    longer = kept(tmp_path / "longer", row(), speed_up=UNDECIDED | {"low": [1.1]})
    (sentence,) = said(dataclasses.replace(first, again=longer))
    assert sentence.endswith(
        "On the new seeds: AdamW needs 1.2 × [0.9, 1.5] the steps to end as low."
    )
    without = kept(tmp_path / "without", row(arm_b="other"))
    (sentence,) = said(dataclasses.replace(first, again=without))
    assert "new seeds" not in sentence


def test_swapped_arms_turn_the_sentence_round(tmp_path):
    lower = said(kept(tmp_path / "a", row(verdict="better", difference=-0.1)))[0]
    higher = said(kept(tmp_path / "b", row(verdict="worse", difference=0.1)))[0]
    assert "lower than" in lower and "higher than" not in lower
    assert "higher than" in higher and "lower than" not in higher


def test_accuracy_is_told_only_where_it_differs(tmp_path):
    accuracy = row("test_accuracy", "better", 0.02)
    (sentence,) = said(kept(tmp_path / "a", row(), accuracy))
    assert "+2.00 [−3.00, 7.00] percentage points" in sentence
    (sentence,) = said(kept(tmp_path / "b", row(), accuracy | {"verdict": "undecided"}))
    assert "accuracy" not in sentence


@pytest.mark.parametrize(
    ("verdict", "difference", "words"),
    [
        ("better", -0.1, "Muon's test loss is lower than AdamW's (−0.100 [−0.150, −0.050] nats"),
        ("worse", 0.1, "Muon's test loss is higher than AdamW's (+0.100 [0.050, 0.150] nats"),
        ("undecided", 0.01, "the test losses of Muon and AdamW cannot be told apart (+0.01"),
    ],
)
def test_a_rate_that_decays_is_told_where_both_sides_were_tuned_for_it(
    tmp_path, verdict, difference, words
):
    sides = {"arm_a": "muon_cosine", "arm_b": "adamw_cosine"}
    decayed = row(verdict=verdict, difference=difference, **sides)
    (sentence,) = said(kept(tmp_path / "a", row(), decayed | {"family": "exploratory"}))
    assert "decays" not in sentence
    family = {"family": "muon_beats_adamw_with_decay"}
    (sentence,) = said(kept(tmp_path / "b", row(), decayed | family))
    assert f"With a rate that decays, and both tuned for that, {words}" in sentence


def test_gap_and_speed_up_are_told_where_they_were_measured(tmp_path):
    gaps = {"label": ["as published", "tuned"], "gap": [-0.7, -0.1]}
    ratios = {"arm": ["muon"] * 3, "method": ["lengths", "lengths", "one curve"]}
    ratios |= {"unit": ["step", "second", "step"], "said": ["1.2 ×", "1.1 ×", "9 ×"]}
    ratios |= {"ratio": [1.2, 1.1, 9], "low": [1.1, 1.05, 8], "high": [1.3, 1.2, 10]}
    (sentence,) = said(kept(tmp_path, row(), waterfall=gaps, speed_up=ratios))
    assert "“as published”, −0.700 nats, −0.100 are left with “tuned”" in sentence
    assert sentence.endswith("AdamW needs 1.2 × the steps to end as low.")


UNDECIDED = {"arm": ["muon"], "baseline": ["adamw"], "method": ["lengths"], "unit": ["step"]}
UNDECIDED |= {"ratio": [1.2], "low": [0.9], "high": [1.5], "said": ["1.2 × [0.9, 1.5]"]}


def test_a_speed_up_whose_interval_includes_1_is_undecided(tmp_path):
    (sentence,) = said(kept(tmp_path, row(), speed_up=UNDECIDED))
    undecided = "Whether AdamW must run longer to end as low is undecided "
    assert sentence.endswith(f"{undecided}(1.2 × [0.9, 1.5] the steps).")


@pytest.mark.parametrize(
    ("verdict", "steps", "flat"),
    [("worse", 20, True), ("equivalent", 20, True), ("better", 20, False), ("worse", 10, False)],
)
def test_it_is_told_if_longer_runs_gain_nothing(tmp_path, verdict, steps, flat):
    longer = row("final_loss", verdict, arm_a="adamw_200", arm_b="adamw")
    runs = {"arm": ["muon", "adamw", "adamw_200"], "steps": [10, 10, steps]}
    ratios = UNDECIDED | {"warning": ["check the baseline's tuning"]}
    (sentence,) = said(kept(tmp_path, row(), longer, speed_up=ratios, runs=runs))
    assert ("none of its longer runs is shown to end lower" in sentence) == flat
    assert "fails this project's own check" in sentence


def test_a_speed_up_that_is_not_plausible_is_told_with_its_warning(tmp_path):
    ratios = {"arm": ["muon"], "method": ["lengths"], "unit": ["step"], "said": ["more than 2 ×"]}
    ratios |= {"ratio": [float("inf")], "low": [1.8], "high": [float("inf")]}
    ratios |= {"warning": ["check the baseline's tuning"]}
    (sentence,) = said(kept(tmp_path, row(), speed_up=ratios))
    told = "more than 2 × the steps to end as low, which fails this project's own check (check the"
    assert told in sentence


def test_of_two_sizes_the_first_speaks(tmp_path):
    large = kept(tmp_path / "a", row(), size="at the published size")
    small = kept(tmp_path / "b", row(verdict="worse", difference=0.1))
    (sentence,) = said(large, small)
    assert "published" in sentence and "lower" in sentence
    assert said(kept(tmp_path / "c", row("final_loss"))) == []
