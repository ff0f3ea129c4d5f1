"""Where a step's time goes: what is measured, what is counted, and whether it pays."""

import gzip
import itertools
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.data.vision import prepare
from muonlab.data.windows import Windows
from muonlab.measure.throughput import matmul_ceiling
from muonlab.optim.factory import build_optimizer
from muonlab.optim.iteration import gram_flops, plain_flops
from muonlab.optim.muon import Muon
from muonlab.optim.newton_schulz import shape_plan
from muonlab.plan.models import MODELS
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.runs import load_plan
from muonlab.plan.training import Training
from muonlab.probes.overhead import memory, profile_overhead, shape_records
from muonlab.probes.stopwatch import Stopwatch, TimedUpdate
from muonlab.report import overhead
from muonlab.report.figures import step_costs
from muonlab.report.tables.overhead import overhead_table, shapes_table
from muonlab.statistics.cost_benefit import Share, cost_benefit, share
from muonlab.training.build import build_model
from muonlab.training.language import Text
from muonlab.training.update import Update

ROOT = Path(__file__).parents[2]
PARTS = ("data", "forward", "backward", "clip", "optimizer")
MODEL = {"context": 8, "width": 64, "layers": 2, "heads": 2, "feedforward": 96}
MODEL |= {"experts": 3, "router_noise": 0.1}


def config(optimizer="muon", model=None, training=None, **fields):
    section = OPTIMIZERS[optimizer](name=optimizer, **fields).model_dump()
    limits = {"steps": 50, "batch_size": 2, "accumulation": 2, "clip": 1.0}
    return {
        "model": MODELS["transformer"](name="transformer", **MODEL | (model or {})).model_dump(),
        "training": Training(**limits | (training or {})).model_dump(),
        "optimizer": section,
        "seed": 3,
        "phase": "tuning",
    }


def update(settings, kind=TimedUpdate, vocab=40):
    tokens = np.random.default_rng(0).integers(0, vocab, 2000).astype(np.uint16)
    windows = Windows(tokens, np.array([0, len(tokens)]), settings["model"]["context"])
    model = build_model(settings, {"vocab": vocab})
    optimizer = build_optimizer(model, settings["optimizer"])
    return kind(settings, model, optimizer, Text(windows, vocab, False, "cpu"), "cpu")


# ---------------------------------------------------------------- timing


def test_a_timed_update_moves_the_weights_as_an_update_does():
    timed, plain = update(config()), update(config(), Update)
    for step in range(4):
        timed.step(step)
        if step == 0:
            timed.time_orthogonalization()
        plain.gradients(step)
        plain.clip()
        plain.apply(step)
    for a, b in zip(timed.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b)


def ticking(watch):
    """A clock that goes on by one at each look."""
    counter = itertools.count()
    watch.clock = lambda: float(next(counter))


def test_parts_lie_beside_each_other_and_add_up_to_the_step():
    timed = update(config())
    timed.step(0)
    timed.time_orthogonalization()
    timed.watch.read()
    ticking(timed.watch)
    timed.step(1)
    seconds = timed.seconds()
    # One look at each end of a section, 12 sections beside the Newton–Schulz ones in the step.
    bundles = len(timed.optimizer.bundles)
    assert seconds["newton_schulz"] == bundles
    assert seconds["optimizer"] == 1 + 2 * bundles
    assert seconds["data"] == 2 and seconds["forward"] == 2 * 3 - 2
    assert seconds["step"] == pytest.approx(sum(seconds[p] for p in PARTS) + seconds["rest"])
    assert seconds["rest"] > 0
    assert timed.watch.read() == {}


def test_sections_of_one_name_are_summed_and_forgotten_once_read():
    watch = Stopwatch("cpu")
    ticking(watch)
    for _ in range(3):
        with watch.section("a"), watch.section("b"):
            pass
    assert watch.read() == {"a": 9.0, "b": 3.0}
    assert watch.timed(lambda x, y: x + y, "c")(1, y=2) == 3
    assert watch.read() == {"c": 1.0}


@pytest.mark.parametrize("name", ["normuon", "adamuon", "spectral"])
def test_variants_of_muon_are_timed_too(name):
    timed = update(config(name))
    timed.step(0)
    timed.time_orthogonalization()
    timed.step(1)
    assert timed.seconds()["newton_schulz"] > 0


@pytest.mark.parametrize("optimizer", [("adamw", {}), ("muon", {"orthogonalize": False})])
def test_what_orthogonalizes_nothing_spends_nothing_on_it(optimizer):
    name, fields = optimizer
    timed = update(config(name, **fields))
    timed.step(0)
    timed.time_orthogonalization()
    timed.step(1)
    assert timed.seconds()["newton_schulz"] == 0
    assert shape_records(timed.optimizer, 1, "cpu") == []


# ---------------------------------------------------------------- counting


def test_shapes_cover_every_matrix_of_muon_and_leave_its_weights_alone():
    timed = update(config())
    timed.step(0)
    before = [p.detach().clone() for p in timed.model.parameters()]
    records = shape_records(timed.optimizer, 1, "cpu")
    muon = timed.optimizer
    params = [p for group in muon.matrix_groups for p in group["params"]]
    assert sum(r["tensors"] for r in records) == len(params)
    assert sum(r["matrices"] for r in records) == sum(math.prod(p.shape[:-2]) for p in params)
    assert {r["shape"] for r in records} == {"x".join(map(str, p.shape)) for p in params}
    for p, old in zip(timed.model.parameters(), before, strict=True):
        assert torch.equal(p, old)


@given(st.integers(33, 80), st.integers(33, 200), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_flops_are_those_that_the_plan_foresees(m, n, steps, seed):
    p = torch.nn.Parameter(torch.zeros(m, n))
    p.grad = torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
    (record,) = shape_records(Muon([p], ns_steps=steps, dtype=None), 1, "cpu")
    plan = shape_plan("jordan", steps, p, None)
    short, long = sorted((m, n))
    plain = plain_flops(steps, short, long)
    gram = {gram_flops(s, short, long) for s in (plan.segments, plan.spread_segments)}
    assert record["flops"] in (gram if plan.gram else {plain})
    assert record["plain_flops"] == plain
    assert record["dtype"] == "float32"


def test_memory_is_that_of_the_tensors():
    timed = update(config())
    timed.step(0)
    muon = timed.optimizer
    assert muon.workspace_bytes >= sum(t.nbytes for b in muon.bundles for t in b.results)
    rest = [g for g in muon.param_groups if g["optimizer"] == "adamw"]
    moments = sum(2 * p.nbytes + 4 for g in rest for p in g["params"])
    momenta = sum(p.nbytes for g in muon.matrix_groups for p in g["params"])
    found = memory(timed.optimizer)
    assert found["state_bytes"] == moments + momenta
    assert found["weight_bytes"] == sum(p.nbytes for p in timed.model.parameters())


def test_a_ceiling_is_a_rate():
    assert 0 < matmul_ceiling(torch.float32) < math.inf


# ---------------------------------------------------------------- the profile


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A profile of two arms of the image study, and its trace."""
    folder = tmp_path_factory.mktemp("overhead")
    source = {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}
    prepare("digits", source, folder / "data")
    plan = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    configs = {}
    for arm in ("muon_hybrid", "adamw"):
        configs[arm] = plan.reporting_runs(arm, plan.arms[arm].trials[0].settings)[0].config
    facts = json.loads((folder / "data" / "digest.json").read_text())
    steps = {"warmup_steps": 2, "steps": 4, "traced_steps": 2}
    trace = folder / "trace.json.gz"
    record = profile_overhead(configs, folder / "data", facts, steps, "cpu", trace)
    return json.loads(json.dumps(record, allow_nan=False)), trace


def test_a_profile_times_every_round_of_both_arms(profile):
    record, _ = profile
    assert [arm["arm"] for arm in record["arms"]] == ["muon_hybrid", "adamw"]
    for arm in record["arms"]:
        assert {len(values) for values in arm["seconds"].values()} == {4}
        for k in range(4):
            seconds = {part: values[k] for part, values in arm["seconds"].items()}
            assert 0 <= seconds["newton_schulz"] <= seconds["optimizer"] <= seconds["step"]
        assert arm["flops"] == 6 * arm["tokens"] * (64 * 15 + 2 * 15 * 15 + 15 * 10)
    assert record["arms"][0]["shapes"] and not record["arms"][1]["shapes"]
    assert record["threads"] == torch.get_num_threads()


def test_the_trace_is_one_that_viewers_open_with_every_part_by_name(profile):
    _, trace = profile
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    names = [e["name"] for e in events if e.get("cat") == "user_annotation"]
    for part in (*PARTS, "step"):
        assert names.count(part) == 4, part
    assert sum(name.startswith("newton_schulz") for name in names) == 2
    assert "newton_schulz 2 of 15x15" in names
    assert {"muon_hybrid: step 6", "adamw: step 7"} <= set(names)


# ---------------------------------------------------------------- worth


def reference(a, b, t, u):
    """Seconds that the first arm saves, and how much longer its step may take."""
    spent = sum(a) / len(a) * np.median(t), sum(b) / len(b) * np.median(u)
    return spent[1] - spent[0], sum(b) / sum(a)


@given(st.integers(2, 8), st.integers(2, 12), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_what_is_saved_is_steps_times_seconds(n, rounds, seed):
    random = np.random.default_rng(seed)
    a, b = random.uniform(10, 100, (2, n))
    t, u = random.uniform(0.1, 0.3, (2, rounds))
    found = cost_benefit(a, b, t, u, resamples=200)
    saved, even = reference(a, b, t, u)
    assert found.saved == pytest.approx(saved)
    assert found.break_even == pytest.approx(even)
    assert found.cost == pytest.approx(np.median(t) / np.median(u))
    assert found.saved_low <= found.saved_high
    turned = cost_benefit(b, a, u, t, resamples=200)
    assert turned.saved == pytest.approx(-saved)
    mirror = {"saves time": "costs time", "costs time": "saves time"}
    assert turned.verdict == mirror.get(found.verdict, found.verdict)


def test_the_verdict_flips_with_the_cost_of_a_step():
    a, b, t = [50, 55, 60, 52, 58], [100, 110, 105, 95, 108], np.linspace(0.1, 0.102, 9)
    assert cost_benefit(a, b, 1.1 * t, t).verdict == "saves time"
    assert cost_benefit(a, b, 3.0 * t, t).verdict == "costs time"
    assert cost_benefit(a, b, 1.88 * t, t).verdict == "undecided"


def test_the_interval_covers_the_truth_nearly_as_often_as_it_says():
    random = np.random.default_rng(5)
    covered = []
    for k in range(100):
        a, b = random.normal(50, 5, 20), random.normal(80, 5, 20)
        t, u = random.normal(0.12, 0.01, 20), random.normal(0.1, 0.01, 20)
        found = cost_benefit(a, b, t, u, resamples=400, seed=k)
        covered.append(found.saved_low <= 80 * 0.1 - 50 * 0.12 <= found.saved_high)
    assert 0.85 <= np.mean(covered) <= 1


def test_a_loss_that_is_never_reached_takes_infinitely_long():
    t = np.linspace(0.1, 0.2, 5)
    never = cost_benefit([50, 60], [math.inf, math.inf], t, t)
    assert never.saved == math.inf and never.verdict == "saves time"
    assert cost_benefit([math.inf] * 2, [50, 60], t, t).verdict == "costs time"
    assert cost_benefit([math.inf] * 2, [math.inf] * 2, t, t).verdict == "not estimable"


@pytest.mark.parametrize(("a", "b"), [([50], [60]), ([50, 50], [60, 60])])
def test_seeds_that_say_nothing_of_their_spread_give_no_verdict(a, b):
    found = cost_benefit(a, b, [0.1, 0.2], [0.1, 0.15])
    assert found.verdict == "not estimable" and math.isnan(found.saved_low)


def test_seeds_and_rounds_have_to_pair():
    for arguments in (([1, 2], [1], [1], [1]), ([1], [1], [1, 2], [1]), ([], [], [1], [1])):
        with pytest.raises(ValueError, match="pair"):
            cost_benefit(*arguments)


@pytest.mark.parametrize(
    ("low", "high", "level"),
    [
        (0.04, 0.049, "low"),
        (0.05, 0.2, "medium"),
        (0.049, 0.05, "undecided"),
        (0.2, 0.201, "undecided"),
        (0.201, 0.4, "high"),
        (math.nan, math.nan, "not estimable"),
    ],
)
def test_the_levels_of_an_overhead_end_where_they_say(low, high, level):
    assert Share(5, 0.1, low, high).level == level


@pytest.mark.parametrize(
    ("part", "level"),
    [(0.01, "low"), (0.1, "medium"), (0.3, "high"), (0.05, "undecided"), (0.2, "undecided")]
    + [(0.0, "none")],
)
def test_an_overhead_has_a_level_where_its_whole_interval_has(part, level):
    whole = np.ones(20)
    noisy = part * np.linspace(0.9, 1.1, 20)
    assert share(noisy, whole).level == level


# ---------------------------------------------------------------- tables and figure


def made_up(newton_schulz=0.02, muon_step=0.12, rounds=6):
    def arm(name, step, orthogonalization):
        noise = np.linspace(0.99, 1.01, rounds)
        shuffled = noise[np.random.default_rng(1).permutation(rounds)]
        parts = {"data": 0.001, "forward": 0.03, "backward": 0.05, "clip": 0.002, "step": step}
        parts |= {"optimizer": 0.005 + orthogonalization, "newton_schulz": orthogonalization}
        parts["rest"] = step - sum(parts[p] for p in PARTS)
        return {
            "arm": name,
            "seconds": {
                part: list(value * (shuffled if part == "newton_schulz" else noise))
                for part, value in parts.items()
            },
            "memory": {"weight_bytes": 100, "state_bytes": 200, "workspace_bytes": 50},
            "tokens": 64,
            "flops": 10**9,
            "precision": "float32",
            "shapes": [
                {"shape": "8x4", "tensors": 2, "matrices": 2, "seconds": 0.01, "flops": 10**7}
                | {"plain_flops": 2 * 10**7, "dtype": "float32"}
            ]
            * bool(orthogonalization),
        }

    arms = [arm("muon", muon_step, newton_schulz), arm("adamw", 0.1, 0.0)]
    ceiling = {"float32": 10**11}
    facts = {"device": "cpu", "threads": 2, "ceiling_flops_per_second": ceiling}
    return {"arms": arms} | facts


STUDY = {
    "title": "Made up",
    "data": "python",
    "protocol": "fair",
    "alpha": 0.05,
    "interval": "95 %",
    "seeds": [1, 2, 3, 4],
    "training": {"evaluate_on": "validation"},
    "levels": 3,
    "arms": [
        {"name": "adamw", "label": "AdamW", "edges": {}, "tuned": True},
        {"name": "muon", "label": "Muon", "edges": {}, "tuned": True},
    ],
}
MEMORY = pd.DataFrame(
    {"arm": ["muon", "muon", "adamw"], "peak_host_bytes": [10, 30, 20], "peak_device_bytes": None}
)


def curves(reached):
    """Losses that fall from 4 in a line, and come to 2 at the given step of each arm and seed."""
    rows = []
    for (arm, seed), step in reached.items():
        for at in range(0, 101, 10):
            value = 4 - 2 * at / step if math.isfinite(step) else 4.0
            for split, metric in (("validation", "loss"), ("train", "loss"), ("validation", "a")):
                loss = value if split == "validation" and metric == "loss" else 0.0
                row = {"arm": arm, "seed": seed, "step": at, "split": split, "metric": metric}
                rows.append(row | {"value": loss})
    return pd.DataFrame(rows)


REACHED = {("muon", s): 41.0 + s for s in STUDY["seeds"]}
REACHED |= {("adamw", s): 72.0 + 3 * s for s in STUDY["seeds"]}


def listed(reached):
    """The runs and their summaries; a run that never comes to the loss has diverged."""
    runs = [{"arm": arm, "seed": seed} for arm, seed in reached]
    return runs, [{"diverged": not math.isfinite(step)} for step in reached.values()]


def race(reached):
    return overhead.race(curves(reached), *listed(reached), STUDY)


# The last run to come to a loss of 2 does so at step 84 and trains on to step 100.
LATE = 100 / 84


def value(table, arm, quantity):
    rows = table[(table.arm == arm) & (table.quantity == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_steps_to_the_loss_that_all_came_to_are_read_between_evaluations():
    found = race(REACHED | {("muon", 3): math.inf})
    assert found.loss == pytest.approx(4 - 2 * LATE)
    expected = {1: 42 * LATE, 2: 43 * LATE, 3: math.inf, 4: 45 * LATE}
    assert found.steps["muon"].to_dict() == pytest.approx(expected)
    assert found.steps["adamw"][4] == pytest.approx(100)


def test_without_a_loss_that_all_came_to_no_step_is_enough():
    reached = dict(REACHED)
    data = curves(reached)
    level = (data.arm == "muon") & (data.seed == 1) & (data.metric == "loss")
    data.loc[level & (data.split == "validation"), "value"] = 4.0
    found = overhead.race(data, *listed(reached), STUDY)
    assert math.isnan(found.loss) and np.isinf(found.steps["adamw"]).all()
    judged = overhead.judged(made_up(), found, 0.05)
    assert judged.verdict == "not estimable"


def test_the_table_holds_shares_memory_and_worth():
    table = overhead_table(made_up(), MEMORY, race(REACHED), STUDY)
    assert value(table, "muon", "newton_schulz_of_step").value == pytest.approx(0.02 / 0.12)
    assert value(table, "muon", "newton_schulz_of_optimizer").value == pytest.approx(0.8)
    assert value(table, "muon", "optimizer_over_passes").value == pytest.approx(0.025 / 0.08)
    assert value(table, "muon", "tokens_per_second").value == pytest.approx(64 / 0.12)
    flops = value(table, "muon", "newton_schulz_of_flops").value
    assert flops == pytest.approx(1e7 / (1e9 + 1e7))
    peak = value(table, "muon", "peak_host_bytes")
    assert (peak.value, peak.low, peak.high, peak.n) == (20, 10, 30, 2)
    assert "peak_device_bytes" not in set(table.quantity)
    saved = value(table, "muon", "seconds_saved")
    assert saved.value == pytest.approx(LATE * (79.5 * 0.1 - 43.5 * 0.12))
    assert saved.verdict == "saves time" and saved.baseline == "adamw" and saved.n == 4


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.001, "low"), (0.013, "medium"), (0.1, "high"), (0.0, "none")]
)
def test_the_level_of_the_overhead_follows_its_share(seconds, verdict):
    profile = made_up(newton_schulz=seconds, muon_step=0.1 + seconds)
    table = overhead_table(profile, MEMORY, race(REACHED), STUDY)
    assert value(table, "muon", "newton_schulz_of_step").verdict == verdict
    assert value(table, "adamw", "newton_schulz_of_step").verdict == "none"


def test_the_shapes_have_rates_against_the_ceiling_and_none_is_an_empty_table():
    table = shapes_table(made_up())
    assert table.gigaflops_per_second.tolist() == [1.0]
    assert table.share_of_ceiling.tolist() == pytest.approx([0.01])
    empty = shapes_table(made_up(newton_schulz=0.0))
    assert len(empty) == 0 and list(empty.columns) == list(table.columns)


@pytest.mark.parametrize("step", [0.12, 0.4, 0.18])
def test_the_sentence_follows_the_numbers(step):
    data = race(REACHED)
    table = overhead_table(made_up(muon_step=step), MEMORY, data, STUDY)
    words = {"saves time": "it saves time", "costs time": "it costs time"}
    verdict = value(table, "muon", "seconds_saved").verdict
    found = step_costs.sentence(overhead.judged(made_up(muon_step=step), data, 0.05))
    assert words.get(verdict, verdict) in found and f"{step / 0.1:.2f} ×" in found


@pytest.mark.parametrize("case", ["plain", "unreached", "one seed"])
def test_the_figure_stacks_the_whole_step(case):
    reached = dict(REACHED)
    if case == "unreached":
        reached[("adamw", 2)] = math.inf
    if case == "one seed":
        reached = {key: step for key, step in reached.items() if key[1] == 1}
    figure = step_costs.overhead(made_up(), curves(reached), *listed(reached), STUDY)
    bars = [patch for patch in figure.axes[0].patches if patch.get_height()]
    heights = [sum(p.get_height() for p in bars if p.get_x() < 0.5), 0]
    heights[1] = sum(p.get_height() for p in bars) - heights[0]
    assert heights == pytest.approx([120, 100])
    texts = " ".join(text.get_text() for axis in figure.axes for text in axis.texts)
    assert ("1 of 4 never" in texts) == (case == "unreached")
    plt.close(figure)
