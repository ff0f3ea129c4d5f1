"""Runs: pairing, bitwise resume after kill −9 and SIGTERM, divergence, records."""

import csv
import json
import math
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from muonlab.data.vision import load_split, prepare
from muonlab.plan.runs import load_plan
from muonlab.training import run as run_module
from muonlab.training.build import build_batches, build_model
from muonlab.training.loop import Trainer
from muonlab.training.record import Metrics, summarise
from muonlab.training.run import train_run

ROOT = Path(__file__).parents[2]
SHORT = {"epochs": 4, "eval_every": 10, "snapshot_every": 20, "log_every": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}, folder)
    return folder


def config(arm="muon_hybrid", seed=1, training=None, **optimizer):
    plan = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    name = plan.reporting_runs(arm, plan.arms[arm].trials[0].settings)[0][1]
    settings = plan.runs[name]
    return settings | {
        "seed": seed,
        "training": settings["training"] | SHORT | (training or {}),
        "optimizer": settings["optimizer"] | {"lr": 0.01} | optimizer,
    }


def train(folder, data, settings, **options):
    train_run(settings, "code", data, folder, **({"checkpoint_seconds": 0} | options))


def contents(folder):
    """Bytes of every file of a run that holds no time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder, data, config())
    return contents(folder)


def in_child(function):
    """Exit code of `function` in a forked process, which shares the imports of this one."""
    child = multiprocessing.get_context("fork").Process(target=function)
    child.start()
    child.join()
    return child.exitcode


def signalled_at(step, number):
    """Trainer._update that sends its own process a signal before that update."""
    update = Trainer._update

    def patched(self, first):
        if self.step == step:
            os.kill(os.getpid(), number)
        return update(self, first)

    return patched


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)], ids=["kill", "term"]
)
def test_a_run_stopped_five_times_ends_in_the_same_bytes(
    number, exit_code, tmp_path, data, uninterrupted, monkeypatch
):
    total = 4 * 18
    steps = sorted(random.sample(range(total), 5))
    folder = tmp_path / "run"
    for step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_update", signalled_at(step, number))
            assert in_child(lambda: train(folder, data, config())) == exit_code, steps
        assert not (folder / "summary.json").exists()
    assert in_child(lambda: train(folder, data, config())) == 0
    assert contents(folder) == uninterrupted, f"stopped at {steps}"
    assert not list(tmp_path.glob("*.partial"))


def test_sigterm_loses_no_step(tmp_path, data, monkeypatch, capfd):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(33, signal.SIGTERM))
        in_child(lambda: train(folder, data, config(), checkpoint_seconds=3600))
    in_child(lambda: train(folder, data, config()))
    # The update during which the signal came is finished first.
    assert "resumes at step 34" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "summary.json"])
def test_a_run_killed_while_it_publishes_ends_in_the_same_bytes(
    name, tmp_path, data, uninterrupted, monkeypatch
):
    folder = tmp_path / "run"
    write = run_module.write_json

    def dying(path, value):
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_json", dying)
        assert in_child(lambda: train(folder, data, config())) == -9
    train(folder, data, config())
    assert contents(folder) == uninterrupted


@pytest.mark.parametrize("change", ["settings", "code", "damage"])
def test_a_checkpoint_of_another_run_is_not_used(change, tmp_path, data, monkeypatch, capfd):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(30, signal.SIGTERM))
        in_child(lambda: train(folder, data, config()))
    checkpoint = tmp_path / "run.partial" / "checkpoint.pt"
    assert checkpoint.exists()
    settings, code = config(), "code"
    if change == "settings":
        settings = config(lr=0.02)
    elif change == "code":
        code = "other code"
    else:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    in_child(lambda: train_run(settings, code, data, folder))
    assert "starts at step 0" in capfd.readouterr().out


def test_a_second_process_waits_and_leaves_with_the_firsts_results(tmp_path, data):
    folder = tmp_path / "run"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=train, args=(folder, data, config())) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert not (tmp_path / "run.lock").exists()
    assert (folder / "summary.json").exists()


def facts(data):
    return json.loads((data / "digest.json").read_text())


def test_arms_of_one_seed_share_weights_and_batches_and_seeds_do_not(data):
    adamw, muon = config("adamw"), config("muon")
    other = config("adamw", seed=2)
    weights = [dict(build_model(c, facts(data)).named_parameters()) for c in (adamw, muon, other)]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])
    assert not any(torch.equal(weights[0][n], weights[2][n]) for n in weights[0])
    orders = [build_batches(c, 1137) for c in (adamw, muon, other)]
    for step in (0, 7, 40):
        assert (orders[0].indices(step) == orders[1].indices(step)).all()
        assert (orders[0].indices(step) != orders[2].indices(step)).any()


def test_a_tensor_shared_by_two_architectures_starts_equal(data):
    deep = config() | {"model": config()["model"] | {"depth": 5}}
    one, two = (dict(build_model(c, facts(data)).named_parameters()) for c in (config(), deep))
    assert torch.equal(one["layers.0.weight"], two["layers.0.weight"])
    assert torch.equal(one["layers.2.weight"], two["layers.2.weight"])


def test_unpaired_runs_share_nothing(data):
    pair = [config(arm, training={"paired": False}) for arm in ("adamw", "muon")]
    one, two = (build_model(c, facts(data)) for c in pair)
    assert not torch.equal(one.layers[0].weight, two.layers[0].weight)
    assert (build_batches(pair[0], 99).indices(0) != build_batches(pair[1], 99).indices(0)).any()


def test_initial_weights_are_uniform_within_the_bound_of_torch_linear(data):
    wide = config() | {"model": config()["model"] | {"width": 256}}
    weight = build_model(wide, facts(data)).layers[1].weight
    bound = 1 / math.sqrt(256)
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_records_agree_with_the_final_weights(tmp_path, data):
    folder = tmp_path / "run"
    train(folder, data, config())
    weights = load_file(folder / "weights.safetensors")
    summary = json.loads((folder / "summary.json").read_text())
    for split, loss, accuracy in (
        ("validation", "final_loss", "final_accuracy"),
        ("test", "test_loss", "test_accuracy"),
    ):
        part = load_split(data / f"{split}.safetensors")
        x = torch.from_numpy(part.images).double() / 16
        for i in range(4):
            x = x @ weights[f"layers.{i}.weight"].double().T
            x = x.relu() if i < 3 else x
        labels = torch.from_numpy(part.labels).long()
        assert summary[loss] == pytest.approx(cross_entropy(x, labels).item(), rel=1e-5)
        assert summary[accuracy] == (x.argmax(1) == labels).double().mean().item()
    last = sorted((folder / "snapshots").iterdir())[-1]
    assert last.name == "00000072.safetensors"
    assert all(torch.equal(v, weights[k]) for k, v in load_file(last).items())


def test_evaluations_and_snapshots_stand_at_their_steps(tmp_path, data):
    folder = tmp_path / "run"
    train(folder, data, config())
    metrics = pd.read_parquet(folder / "metrics.parquet")
    loss = metrics[(metrics.split == "validation") & (metrics.metric == "loss")]
    assert list(loss.step) == [*range(0, 72, 10), 72]
    train_loss = metrics[(metrics.split == "train") & (metrics.metric == "loss")]
    assert list(train_loss.step) == list(range(0, 72, 5))
    assert loss.value.iloc[0] == pytest.approx(math.log(10), rel=0.05)
    snapshots = [int(p.stem) for p in sorted((folder / "snapshots").iterdir())]
    assert snapshots == [0, 20, 40, 60, 72]


def test_a_tuning_run_never_reads_the_test_set(tmp_path, data):
    import shutil

    without = tmp_path / "data"
    shutil.copytree(data, without)
    (without / "test.safetensors").unlink()
    train(tmp_path / "run", without, config() | {"phase": "tuning"})
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test_loss"] is None
    assert summary["final_loss"] is not None


def test_a_run_that_diverges_is_a_result(tmp_path, data):
    folder = tmp_path / "run"
    settings = config("adamw", lr=1e30, training={"log_every": 1})
    train(folder, data, settings)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["diverged"]
    assert summary["final_loss"] is None
    assert summary["diverged_at"] is not None
    assert summary["initial_loss"] == pytest.approx(math.log(10), rel=0.05)


@pytest.mark.parametrize(
    ("final", "diverged"), [(2.4, True), (2.2, False), (math.nan, True), (math.inf, True)]
)
def test_a_loss_that_ends_above_its_start_is_divergence(final, diverged):
    metrics = Metrics()
    for step, loss in ((0, 2.3), (10, 1.0), (20, final)):
        metrics.add(step, "validation", loss=loss, accuracy=0.5)
    summary = summarise(config(), metrics, steps=20, stopped_at=None)
    assert summary["diverged"] == diverged
    assert summary["best_loss"] == 1.0
    assert summary["final_loss"] == (final if math.isfinite(final) else None)


def test_the_routing_manifest_says_who_trains_what(tmp_path, data):
    train(tmp_path / "run", data, config("muon_hybrid"))
    rows = list(csv.DictReader((tmp_path / "run" / "routing.csv").open()))
    assert [(r["tensor"], r["optimizer"]) for r in rows] == [
        ("layers.0.weight", "adamw"),
        ("layers.1.weight", "muon"),
        ("layers.2.weight", "muon"),
        ("layers.3.weight", "adamw"),
    ]
    assert {r["component"] for r in rows} == {"input", "hidden", "output"}


def test_biases_go_to_adamw_without_decay(tmp_path, data):
    settings = config("muon") | {"model": config()["model"] | {"bias": True}}
    train(tmp_path / "run", data, settings)
    rows = list(csv.DictReader((tmp_path / "run" / "routing.csv").open()))
    biases = [r for r in rows if r["component"] == "bias"]
    assert len(biases) == 4
    assert all(r["optimizer"] == "adamw" and float(r["weight_decay"]) == 0 for r in biases)


def test_a_gpu_that_is_not_there_is_a_clear_sentence(tmp_path, data):
    from muonlab.io.errors import UserError

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match="a GPU was asked for"):
        train(tmp_path / "run", data, config(), device="cuda")
