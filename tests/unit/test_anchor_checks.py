"""Anchor checks: each passes, fails and does not apply where it should, and is said so."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from muonlab.io.errors import UserError
from muonlab.optim.newton_schulz import newton_schulz
from muonlab.plan.reported import iteration_bands
from muonlab.plan.runs import load_plan
from muonlab.report.anchors import FAIL, NOT_APPLICABLE, PASS, anchor_line, anchor_rows
from muonlab.report.records import write_csv
from muonlab.report.tables.anchor_checks import anchor_checks
from muonlab.statistics.speedup import SUSPICIOUS, WARNING

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3, 4, 5)
USUAL = {"band": [0.68, 1.21], "usual": True, "matched": True}
ANCHORS = {
    "frozen": "frozen",
    "without_momentum": "still",
    "with_momentum": "muon",
    "optimizers": {"adamw": "adamw", "muon": "muon", "still": "muon", "frozen": "adamw"},
    "iterations": {"muon": USUAL},
}
MEANS = {"adamw": 4.1, "muon": 4.0, "still": 4.4, "frozen": 4.7}
LABELS = {"adamw": "AdamW", "muon": "Muon", "still": "no momentum", "frozen": "frozen"}


def study(edges=(), tuned=("adamw", "muon", "frozen")):
    arms = [
        {"name": a, "label": LABELS[a], "tuned": a in tuned, "settings": {"lr": 0.1}}
        | {"edges": {"lr": "high"} if a in edges else {}}
        for a in MEANS
    ]
    facts = {"title": "Made up", "data": "python", "protocol": "fair", "kind": "text"}
    return facts | {"alpha": 0.05, "interval": "95 %", "seeds": list(SEEDS), "arms": arms}


def records(means=MEANS, seeds=SEEDS, noise=0.01, diverged=()):
    rng = np.random.default_rng(0)
    runs, summaries = [], []
    for arm, mean in means.items():
        for seed in seeds:
            loss = mean + noise * rng.normal()
            lost = (arm, seed) in diverged
            runs.append({"arm": arm, "seed": seed, "run": f"{arm}/seed-{seed}"})
            summaries.append({"diverged": lost, "final_loss": None if lost else loss})
    return runs, summaries


def direction(rms=0.95, largest=1.1, smallest=0.8, arm="muon", normalised=False):
    values = {"rms": rms, "max": largest, "min": smallest}
    rows = [
        {"arm": arm, "seed": seed, "tensor": tensor, "normalised": normalised}
        | {"metric": f"{name}_singular_value", "value": value}
        for seed in SEEDS
        for tensor in ("query", "down")
        for name, value in values.items()
    ]
    return pd.DataFrame(rows)


def basins(octaves=0.8, low=0.2, high=1.4, n=5, verdict="wider", arms=("muon", "adamw"), reason=""):
    a, b = arms
    rows = [{"arm": a, "against": "", "octaves": 2.0}, {"arm": b, "against": "", "octaves": 1.2}]
    row = {"arm": a, "against": b, "n": n, "octaves": octaves, "low": low, "high": high}
    return pd.DataFrame([*rows, row | {"verdict": verdict, "reason": reason}])


def profile(share=0.02, predicted=0.01):
    rows = [
        {"arm": "muon", "quantity": "newton_schulz_of_step", "value": share, "low": share}
        | {"high": share, "n": 20},
        {"arm": "muon", "quantity": "newton_schulz_of_flops", "value": predicted},
        {"arm": "adamw", "quantity": "newton_schulz_of_step", "value": 0.0, "n": 20},
        {"arm": "adamw", "quantity": "newton_schulz_of_flops", "value": 0.0},
    ]
    return pd.DataFrame(rows)


def speed_up(ratio=1.2):
    row = {"arm": "muon", "baseline": "adamw", "unit": "step", "method": "lengths", "n": 5}
    row |= {"ratio": ratio, "low": ratio, "high": ratio, "shortest": 1.0, "longest": 2.0}
    return pd.DataFrame([row | {"warning": WARNING if ratio >= SUSPICIOUS else ""}])


WHOLE = {
    "direction_records": direction(),
    "basins": basins(),
    "overhead": profile(),
    "speed_up_table": speed_up(),
}


def checked(context=None, anchors=ANCHORS, made=None, **changed):
    table = anchor_checks(anchors, *(made or records()), context or study(), **(WHOLE | changed))
    assert table.check.is_unique
    return table.set_index("check", drop=False)


NAMES = {
    "frozen": "tuned arms beat the frozen one",
    "edge": "no tuned arm on an edge",
    "size": "size of Muon's update",
    "band": "Newton–Schulz band",
    "momentum": "momentum helps Muon",
    "basin": "Muon's basin is wider",
    "overhead": "overhead follows from flops",
    "speed_up": "speed-up is plausible",
}


def test_all_pass_where_all_is_sound():
    table = checked()
    assert list(table.check) == list(NAMES.values())
    assert (table.result == PASS).all() and (table.reason == "").all()
    assert table.value[NAMES["band"]] == pytest.approx(1.1)
    assert table.value[NAMES["size"]] == pytest.approx(0.2 * 0.95)
    assert anchor_line(table) == "All 8 anchor checks pass."


def test_the_rows_are_the_same_after_the_table_was_written_and_read_back(tmp_path):
    nothing = checked(anchors=ANCHORS | {"frozen": None}, basins=None)
    for table in (checked(), checked(**FAILURES["edge"]), nothing):
        write_csv(table, tmp_path / "table.csv")
        back = pd.read_csv(tmp_path / "table.csv")
        assert list(anchor_rows(back)) == list(anchor_rows(table))
        assert anchor_line(back) == anchor_line(table)


FAILURES = {
    "frozen": {"made": records(MEANS | {"adamw": 4.7})},
    "edge": {"context": study(edges=("muon",))},
    "size": {"direction_records": direction(rms=0.8)},
    "band": {"direction_records": direction(largest=1.4)},
    "momentum": {"made": records(MEANS | {"still": 4.0})},
    "basin": {"basins": basins(0.3, -0.4, 1.0, verdict="undecided")},
    "overhead": {"overhead": profile(share=0.2)},
    "speed_up": {"speed_up_table": speed_up(math.inf)},
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_check_can_fail_and_then_heads_the_findings(name):
    table = checked(**FAILURES[name])
    assert list(table.check[table.result == FAIL]) == [NAMES[name]]
    line = anchor_line(table)
    assert line.startswith("**1 of 8 anchor checks fails") and NAMES[name] in line
    assert table.reason[NAMES[name]] and table.reason[NAMES[name]] in line
    (row,) = [row for row in anchor_rows(table) if "**fail**" in row]
    assert NAMES[name] in row and row.count("|") == 5


def test_a_small_update_of_a_momentum_that_lacks_directions_says_so():
    small = checked(direction_records=direction(rms=0.7)).loc[NAMES["size"]]
    assert small.result == FAIL and small.reason == "outside in 5 of 5 runs (muon)"
    lacking = direction(rms=0.7, smallest=0.01)
    full = (lacking.tensor == "down") & (lacking.metric == "min_singular_value")
    lacking.loc[full, "value"] = 0.8
    found = checked(direction_records=lacking).loc[NAMES["size"]]
    assert found.result == FAIL
    assert "in 5 of their 10 matrices the momentum lacks directions" in found.reason
    assert "down to 0.01 " in found.reason


def curves(muon, adamw=(5.0, 4.6, 4.3, 4.1, 4.0)):
    """Losses at steps 0, 10 … of two arms, alike on all seeds but for a constant."""
    rows = [
        {"arm": arm, "seed": seed, "step": 10 * i, "split": "validation", "metric": "loss"}
        | {"value": loss + 0.01 * seed}
        for arm, losses in (("muon", muon), ("adamw", adamw))
        for seed in SEEDS
        for i, loss in enumerate(losses)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("muon", "lead"),
    [
        ((5.0, 4.0, 3.9, 3.8, 3.7), 4.0),
        ((5.0, 4.5, 4.05, 3.85, 3.8), 40 / 22.5),  # at 4.0 in a quarter of the third stretch
        ((5.0, 4.5, 4.2, 4.0, 3.8), 40 / 30),
        ((5.0, 4.8, 4.6, 4.4, 4.2), None),
    ],
)
def test_without_longer_baselines_the_curves_bound_the_speed_up(muon, lead):
    context = study() | {"training": {"evaluate_on": "validation"}}
    table = checked(context, speed_up_table=None, metrics=curves(muon))
    row = table.loc[NAMES["speed_up"]]
    assert row.result == (FAIL if lead and lead >= 1.6 else PASS)
    assert row.value == pytest.approx(lead) if lead else math.isnan(row.value)
    assert row.n == len(SEEDS) and ("times sooner" in row.reason) == (row.result == FAIL)


def test_a_curve_says_nothing_if_the_run_whose_end_it_is_compared_with_diverged():
    context = study() | {"training": {"evaluate_on": "validation"}}
    lost = curves((5.0, 4.0, 3.9, 3.8, 3.7), adamw=(5.0, 4.6, 4.3, math.inf, math.inf))
    row = checked(context, speed_up_table=None, metrics=lost).loc[NAMES["speed_up"]]
    assert row.result == NOT_APPLICABLE and "diverged" in row.reason


UNKNOWN = {
    "frozen": {"anchors": ANCHORS | {"frozen": None}},
    "edge": {"context": study(tuned=())},
    "size": {"direction_records": None},
    "band": {"direction_records": direction(normalised=True)},
    "momentum": {"anchors": ANCHORS | {"without_momentum": None}},
    "basin": {"basins": basins(n=3)},
    "overhead": {"overhead": None},
    "speed_up": {"speed_up_table": None},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_records_cannot_answer_is_not_applicable_and_never_passed(name):
    row = checked(**UNKNOWN[name]).loc[NAMES[name]]
    assert row.result == NOT_APPLICABLE and row.reason and math.isnan(row.value)


def test_one_seed_on_which_a_tuned_arm_is_above_the_frozen_one_fails():
    runs, summaries = records()
    place = runs.index({"arm": "muon", "seed": 3, "run": "muon/seed-3"})
    summaries[place] |= {"final_loss": 4.75}
    row = checked(made=(runs, summaries)).loc[NAMES["frozen"]]
    assert row.result == FAIL and "muon on 1 of 5 seeds" in row.reason


def test_a_diverged_tuned_arm_does_not_beat_the_frozen_one():
    row = checked(made=records(diverged=[("adamw", 2)])).loc[NAMES["frozen"]]
    assert row.result == FAIL and "adamw" in row.reason
    row = checked(made=records(diverged=[("frozen", 2)])).loc[NAMES["frozen"]]
    assert row.result == NOT_APPLICABLE


def test_a_failure_says_whether_the_opposite_is_shown_or_the_question_open():
    def reason(name, **given):
        return checked(**given).reason[NAMES[name]]

    lower, open_ = records(MEANS | {"still": 1.0}), records(MEANS | {"still": 4.0})
    assert reason("momentum", made=lower) == "Muon ends lower without momentum"
    undecided = "whether momentum lowers the loss is undecided (needs n"
    assert reason("momentum", made=open_).startswith(undecided)
    turned = basins(0.8, 0.2, 1.4, arms=("adamw", "muon"))
    assert reason("basin", basins=turned) == "AdamW's basin is wider"
    open_ = basins(0.3, -0.4, 1.0, verdict="undecided")
    assert reason("basin", basins=open_).startswith("whose basin is wider is undecided")


def test_fewer_than_four_seeds_give_no_verdict_on_momentum():
    row = checked(made=records(seeds=(1, 2, 3))).loc[NAMES["momentum"]]
    assert row.result == NOT_APPLICABLE and "n = 3" in row.reason


def test_the_basin_is_read_in_either_order_of_the_pair():
    turned = basins(-0.8, -1.4, -0.2, verdict="narrower", arms=("adamw", "muon"))
    row = checked(basins=turned).loc[NAMES["basin"]]
    assert row.result == PASS and (row.low, row.high) == (0.2, 1.4)
    assert (
        checked(basins=basins(0.8, 0.2, 1.4, arms=("adamw", "muon"))).loc[NAMES["basin"]].result
        == FAIL
    )


def test_a_basin_that_is_cut_off_is_not_applicable():
    cut = basins(verdict="undecided", reason="The narrower basin is cut off.")
    assert checked(basins=cut).loc[NAMES["basin"]].result == NOT_APPLICABLE


def test_the_counts_of_the_line_add_up():
    table = checked(direction_records=None, overhead=None, speed_up_table=None)
    assert anchor_line(table) == "All 4 anchor checks pass (4 not applicable)."
    nothing = table.assign(result=NOT_APPLICABLE)
    assert "None of the 8" in anchor_line(nothing)


# ---------------------------------------------------------------- the band of an iteration


class Arm:
    def __init__(self, **optimizer):
        usual = {"name": "muon", "orthogonalize": True, "ns_coefficients": "jordan"}
        usual |= {"ns_steps": 5, "scale": "match_rms_adamw", "update_spectrum": None}
        self.settings = {"optimizer": usual | optimizer}


@pytest.mark.parametrize(
    ("coefficients", "steps"),
    [("jordan", 5), ("jordan", 6), ("conservative", 10), ("mild_aggressive", 10)]
    + [("polar_express", 5), ("quintic", 5), ([[1.5, -0.5, 0.0]], 8)],
)
def test_the_largest_singular_value_of_random_matrices_lies_in_the_band(coefficients, steps):
    arm = Arm(ns_coefficients=coefficients, ns_steps=steps)
    low, high = iteration_bands({"a": arm})["a"]["band"]
    torch.manual_seed(0)
    for shape in ((16, 16), (32, 8), (5, 40), (15, 784)):
        G = torch.randn(6, *shape, dtype=torch.float64)
        G[0] = G[0, :, :1] @ G[0, :1]  # of rank 1
        G[1] *= torch.logspace(0, -6, shape[1], dtype=torch.float64)  # badly conditioned
        largest = torch.linalg.svdvals(newton_schulz(G, coefficients, steps))[:, 0]
        assert (largest > low * 0.999).all() and (largest < high * 1.001).all()
    assert 0 < low < high < 2


def test_iterations_without_a_band_are_left_out():
    arms = {
        "adamw": Arm(name="adamw"),
        "raw": Arm(orthogonalize=False),
        "random": Arm(update_spectrum="random"),
        "kept": Arm(update_spectrum=1.0),
        "exact": Arm(ns_coefficients="exact"),
        "stable": Arm(ns_coefficients="ultra_stable", ns_steps=10),
        "muon": Arm(),
        "more": Arm(ns_steps=6),
        "rms": Arm(scale="fixed_rms"),
    }
    found = iteration_bands(arms)
    assert set(found) == {"muon", "more", "rms"}
    assert [found[a]["usual"] for a in found] == [True, False, True]
    assert [found[a]["matched"] for a in found] == [True, True, False]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("anchors: {frozen: ice}", "anchors.frozen: 'ice' is not an arm"),
        ("anchors: {without_momentum: adamw}", "adamw needs a base"),
        ("anchors: {without_momentum: no_ns}", "no_ns must have optimizer.momentum 0"),
        ("baseline: ice", "baseline: 'ice' is not an arm"),
        ("speed_up: {arms: [muon], baseline: adamw, longer: [ice]}", "'ice' is not an arm"),
        ("speed_up: {arms: [muon], baseline: muon, longer: [no_ns]}", "muon more than once"),
        ("speed_up: {arms: [adamw], baseline: muon, longer: [no_ns]}", "orthogonalize"),
        ("waterfall: [{label: one, a: muon, b: adamw}]", "at least two steps"),
    ],
)
def test_an_arm_that_cannot_answer_is_refused(tmp_path, section, says):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"studies: {{moe: {{measure: {{{section}}}}}}}")
    with pytest.raises(UserError, match=says):
        load_plan([ROOT / "config.yaml", mine])
