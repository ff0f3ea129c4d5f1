"""Who leads early and who ends lower: planted curves, naive loops, missing runs, figure, words."""

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.report.convergence import METRICS, crossing, run_values
from muonlab.report.early_phase import early_sentences
from muonlab.report.figures.convergence_panels import convergence as drawn
from muonlab.report.records import write_csv
from muonlab.report.tables.convergence import convergence
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.paired import paired

LABELS = {"adamw": "AdamW", "muon": "Muon", "variant": "variant"}
# Start, end, and the share of the run in which the loss falls by a factor of e.
SHAPES = {"adamw": (2.3, 0.30, 0.05), "muon": (2.3, 0.12, 0.25), "variant": (2.3, 0.12, 0.25)}


def study(arms=("adamw", "muon"), seeds=(1, 2, 3, 4, 5), epochs=None, **facts):
    described = [
        {"name": a, "label": LABELS[a], "tuned": a != "variant", "settings": {}, "edges": {}}
        for a in arms
    ]
    training = {"evaluate_on": "validation", "paired": True, "steps": None if epochs else 200}
    training |= {"epochs": epochs} if epochs else {}
    found = {"title": "Made up", "data": "digits", "protocol": "fair", "alpha": 0.05}
    found |= {"interval": "95 %", "seeds": list(seeds), "kind": "images", "arms": described}
    return found | {"training": training} | facts


def metrics(context, shapes=SHAPES, total=200, every=10, noise=0.01, diverged=(), seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for arm in (a["name"] for a in context["arms"]):
        start, end, share = shapes[arm]
        steps_of_arm = total * (2 if arm == "variant" else 1)
        for run_seed in context["seeds"]:
            for step in range(0, steps_of_arm + 1, 2):
                if (arm, run_seed) in diverged and step > 60:
                    break
                loss = end + (start - end) * math.exp(-step / total / share)
                for split, metric, value in (
                    ("train", "loss", loss * math.exp(0.02 * rng.normal())),
                    ("train", "gradient_norm", 1 + 0.1 * rng.normal()),
                    ("validation", "loss", loss + noise * rng.normal()),
                ):
                    if split == "train" or step % every == 0:
                        if (arm, run_seed) in diverged and step == 60:
                            value = math.nan
                        row = {"arm": arm, "seed": run_seed, "step": step, "split": split}
                        rows.append(row | {"metric": metric, "value": value})
                        if split == "validation" and step == steps_of_arm:
                            rows.append(rows[-1] | {"split": "whole", "value": value + 0.001})
    return pd.DataFrame(rows)


def tables(context=None, **changed):
    context = context or study()
    found = metrics(context, **changed)
    return found, convergence(found, "adamw", context), context


def row_of(table, arm, metric):
    own = table[(table.arm == arm) & (table.metric == metric)]
    assert len(own) == 1
    return own.iloc[0]


def test_each_row_is_the_mean_of_the_runs_and_their_paired_difference():
    found, made, context = tables()
    table, values = made["convergence"], run_values(found, context)
    assert len(table) == 2 * len(METRICS)
    for metric in METRICS:
        own = {a: values[(values.arm == a) & (values.metric == metric)].value for a in SHAPES}
        expected = mean_interval(own["muon"])
        row = row_of(table, "muon", metric)
        assert (row["mean"], row.low) == pytest.approx((expected.mean, expected.low), nan_ok=True)
        difference = paired(own["muon"], own["adamw"])
        assert row.difference == pytest.approx(difference.difference, nan_ok=True)
        assert row.difference_verdict == difference.verdict
    assert row_of(table, "adamw", "loss_at_50").isna().difference


def test_planted_shapes_are_found():
    _, made, _ = tables(noise=0.0)
    table = made["convergence"]
    # exp(−t/τ) = .1, but for what is left of the exponential at the end.
    assert row_of(table, "adamw", "steps_to_90")["mean"] == pytest.approx(
        10 * math.log(10), rel=0.05
    )
    rate = row_of(table, "muon", "early_convergence_rate")["mean"]
    steps = np.arange(20, 101, 2)
    loss = 0.12 + 2.18 * np.exp(-steps / 50)
    assert rate == pytest.approx(100 * np.polyfit(steps, np.log(loss), 1)[0], rel=0.1)
    assert row_of(table, "muon", "gradient_variation_last_fifth")["mean"] == pytest.approx(
        0.1, rel=0.3
    )
    late = row_of(table, "muon", "loss_at_100")
    assert late.at_step == 200 and late["mean"] == pytest.approx(0.121 + 2.18 * math.exp(-4))


def test_losses_are_read_at_evaluations_alone():
    _, made, _ = tables(every=50)
    table = made["convergence"]
    steps = [row_of(table, "muon", f"loss_at_{p}").at_step for p in (10, 25, 50, 75, 100)]
    assert steps == [50, 50, 100, 150, 200]


def test_who_is_sooner_and_who_ends_lower_is_said():
    found, made, context = tables()
    early = made["early_phase"].iloc[0]
    assert early.early_verdict == "higher" and early.final_verdict == "lower"
    assert early.level_steps_verdict == "higher" and 0 < early.crossing < 200
    # The common level lies 90 % of the way to the highest of all final losses.
    final = found[(found.step == 200) & (found.split == "validation")].value.max()
    starts = found[(found.step == 0) & (found.split == "validation")].value
    assert early.level == pytest.approx(starts.mean() - 0.9 * (starts.mean() - final))
    (said,) = early_sentences(made["early_phase"], context)
    assert said.startswith("- AdamW is at loss") and "and yet Muon ends lower" in said
    assert "AdamW leads" in said and "cross for the last time at step" in said


def test_the_sentence_turns_with_the_numbers():
    turned = SHAPES | {"muon": SHAPES["adamw"], "adamw": SHAPES["muon"]}
    _, made, context = tables(shapes=turned)
    (said,) = early_sentences(made["early_phase"], context)
    assert said.startswith("- Muon is at loss") and "and yet AdamW ends lower" in said
    ahead = SHAPES | {"muon": (2.3, 0.1, 0.04)}
    _, made, context = tables(shapes=ahead)
    (said,) = early_sentences(made["early_phase"], context)
    assert said.startswith("- Muon is at loss") and "and ends lower too" in said
    assert "do not cross" in said


def test_equal_arms_have_no_leader():
    _, made, context = tables(shapes=SHAPES | {"muon": SHAPES["adamw"]}, noise=0.05)
    (said,) = early_sentences(made["early_phase"], context)
    assert "which of them ends lower is not shown" in said and "undecided" in said


def test_below_four_seeds_there_is_no_verdict():
    _, made, context = tables(study(seeds=(1, 2, 3)))
    (said,) = early_sentences(made["early_phase"], context)
    assert "no verdict (n = 3)" in said and "ends lower (" not in said


def test_epochs_are_named_where_runs_are_planned_in_epochs():
    _, made, context = tables(study(epochs=20))
    (said,) = early_sentences(made["early_phase"], context)
    assert made["early_phase"].epoch[0] == 10 and "in epoch" in said and "step" not in said


def test_only_tuned_arms_are_compared_in_their_early_phase():
    _, made, context = tables(study(arms=("adamw", "muon", "variant")))
    assert list(made["early_phase"].arm) == ["muon"]
    assert set(made["convergence"].arm) == {"adamw", "muon", "variant"}  # which is twice as long
    assert len(list(early_sentences(made["early_phase"], context))) == 1


def test_every_run_reaches_the_common_level():
    rng = np.random.default_rng(0)
    for seed in range(5):
        ends = SHAPES | {"muon": (2.3, float(rng.uniform(0.1, 1.5)), 0.2)}
        _, made, _ = tables(shapes=ends, noise=0.1, seed=seed)
        early = made["early_phase"].iloc[0]
        assert np.isfinite([early.arm_steps, early.against_steps]).all()


def test_a_diverged_run_makes_its_comparisons_not_estimable():
    _, made, context = tables(diverged=[("muon", 2)])
    row = row_of(made["convergence"], "muon", "loss_at_100")
    assert math.isnan(row["mean"]) and row.difference_verdict == "not estimable"
    assert math.isfinite(row_of(made["convergence"], "adamw", "loss_at_100")["mean"])
    (said,) = early_sentences(made["early_phase"], context)
    assert "cannot be compared" in said


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=2, max_size=12))
def test_the_last_crossing_is_that_of_a_loop(values):
    steps = np.arange(len(values)) * 10.0
    found = crossing(steps, np.array(values))
    signs = [i for i in range(1, len(values)) if values[i - 1] * values[i] < 0]
    if not signs:
        assert math.isnan(found)
    else:
        i = signs[-1]
        assert steps[i - 1] <= found <= steps[i]
        assert np.interp(found, steps, values) == pytest.approx(0, abs=1e-9)


CASES = {
    "all": {},
    "one seed": {"context": study(seeds=(1,))},
    "one arm": {"context": study(arms=("adamw",))},
    "other lengths": {"context": study(arms=("adamw", "muon", "variant"))},
    "diverged": {"diverged": [("muon", 2)]},
    "all diverged": {"diverged": [(a, s) for a in SHAPES for s in (1, 2, 3, 4, 5)]},
    "few evaluations": {"every": 200},
}


@pytest.mark.parametrize("case", CASES)
def test_the_figure_is_drawn_without_a_warning(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, made, context = tables(**CASES[case])
        read = {}
        for name, table in made.items():
            write_csv(table, tmp_path / f"{name}.csv")
            read[name] = pd.read_csv(tmp_path / f"{name}.csv")
        figure = drawn(found, read["convergence"], read["early_phase"], "adamw", context)
        figure.canvas.draw()
        list(early_sentences(read["early_phase"], context))
    text = " ".join(t.get_text() for t in figure.texts)
    assert "Made up" in text and "differs from AdamW" in text
    plt.close(figure)
