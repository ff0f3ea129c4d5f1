"""Runs: pairing, bitwise resume after kill −9 and SIGTERM, divergence, records."""

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
from torch.nn.functional import cross_entropy

from muonlab.data.labelled import load_split
from muonlab.data.vision import prepare
from muonlab.io.tensors import read_tensors
from muonlab.measure.ladder import rungs_passed
from muonlab.observers import snapshots
from muonlab.observers.geometry import GeometryMonitor
from muonlab.plan.runs import load_plan
from muonlab.training import folder as folder_module
from muonlab.training import run as run_module
from muonlab.training.build import build_batches, build_model
from muonlab.training.loop import Trainer
from muonlab.training.metrics import WHOLE, Metrics, summarise
from muonlab.training.run import train_run

ROOT = Path(__file__).parents[2]
SHORT = {"epochs": 4, "eval_every": 10, "rung_ratio": 1.1, "snapshot_every": 20, "log_every": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}, folder)
    return folder


def config(arm="muon_hybrid", seed=1, training=None, **optimizer):
    plan = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    settings = plan.reporting_runs(arm, plan.arms[arm].trials[0].settings)[0].config
    return settings | {
        "seed": seed,
        "training": settings["training"] | SHORT | (training or {}),
        "optimizer": settings["optimizer"] | {"lr": 0.01} | optimizer,
        "keep": {"snapshots": "all", "updates": True},
    }


def train(folder, data, settings, code="code", observer_code="observers", **options):
    options = {"checkpoint_seconds": 0} | options
    train_run(settings, code, observer_code, data, folder, **options)


def contents(folder):
    """Bytes of every file of a run, without its provenance, which holds times."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    record = json.loads(found.pop("run.json"))
    return found | {name: record[name] for name in ("summary", "config", "routing")}


def provenance(folder):
    return json.loads((folder / "run.json").read_text())["provenance"]


def snapshot(folder, step):
    return folder / "records" / "snapshots" / f"{step:08d}.safetensors"


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
    # A run that is asked to stop in its very last update has come to its end.
    steps = sorted(random.sample(range(total - 1), 5))
    folder = tmp_path / "run"
    for step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_update", signalled_at(step, number))
            assert in_child(lambda: train(folder, data, config())) == exit_code, steps
        assert not (folder / "run.json").exists()
    assert in_child(lambda: train(folder, data, config())) == 0
    assert contents(folder) == uninterrupted, f"stopped at {steps}"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(("seconds", "saved"), [(0, True), (3600, False)])
def test_a_run_saves_as_often_as_it_is_told(tmp_path, data, monkeypatch, seconds, saved):
    calls, save = [], run_module._save
    monkeypatch.setattr(run_module, "_save", lambda *given: calls.append(save(*given)))
    train(tmp_path / "run", data, config(), checkpoint_seconds=seconds)
    assert bool(calls) == saved


def test_sigterm_loses_no_step(tmp_path, data, monkeypatch, capfd):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(33, signal.SIGTERM))
        in_child(lambda: train(folder, data, config(), checkpoint_seconds=3600))
    in_child(lambda: train(folder, data, config()))
    # The update during which the signal came is finished first.
    assert "resumes at step 34" in capfd.readouterr().out


@pytest.mark.parametrize("step", [0, 20, 40])
def test_sigterm_during_an_evaluation_leaves_its_rows_once(
    step, tmp_path, data, uninterrupted, monkeypatch
):
    evaluate, folder = Trainer._values, tmp_path / "run"

    def signalled(self, split, examples):
        values = evaluate(self, split, examples)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_values", signalled)
        assert in_child(lambda: train(folder, data, config(), checkpoint_seconds=3600)) == 143
    assert in_child(lambda: train(folder, data, config())) == 0
    assert contents(folder) == uninterrupted


@pytest.mark.parametrize("step", [19, 22, 43])  # before a snapshot, inside of two stretches
def test_sigterm_in_the_middle_of_a_stretch_changes_no_record(
    step, tmp_path, data, uninterrupted, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(step, signal.SIGTERM))
        assert in_child(lambda: train(folder, data, config(), checkpoint_seconds=3600)) == 143
    assert in_child(lambda: train(folder, data, config())) == 0
    assert contents(folder) == uninterrupted


def test_a_run_killed_while_it_publishes_ends_in_the_same_bytes(
    tmp_path, data, uninterrupted, monkeypatch
):
    folder = tmp_path / "run"
    write = folder_module.write_json

    def dying(path, value):
        if path.name == "run.json":
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_json", dying)
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
    in_child(lambda: train(folder, data, settings, code=code))
    assert "the run starts anew" in capfd.readouterr().out


def stopped_at(step, folder, data, monkeypatch, observer_code="observers"):
    """Leaves the run's checkpoint after `step` updates."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(step - 1, signal.SIGTERM))
        own = {"observer_code": observer_code, "checkpoint_seconds": 3600}
        assert in_child(lambda: train(folder, data, config(), **own)) == 143


def test_a_checkpoint_outlives_an_edit_of_the_observers(
    tmp_path, data, uninterrupted, monkeypatch, capfd
):
    folder = tmp_path / "run"
    for step, code in ((25, "first"), (33, "second"), (34, "first")):
        stopped_at(step, folder, data, monkeypatch, code)
    train(folder, data, config(), observer_code="third")
    out = capfd.readouterr().out
    assert "resumes at step 25" in out and "resumes at step 34" in out
    assert contents(folder) == uninterrupted
    facts = provenance(folder)
    assert (facts["code_digest"], facts["observer_digest"]) == ("code", "third")
    assert facts["observer_digests"] == ["second", "first", "third"]
    assert facts["observers_restarted"] == []


def test_runs_that_one_code_has_watched_name_one_digest(tmp_path, data):
    train(tmp_path / "run", data, config())
    facts = provenance(tmp_path / "run")
    assert facts["observer_digest"] == "observers" and "observer_digests" not in facts


def test_an_observer_that_cannot_go_on_starts_anew_and_the_run_does_not(
    tmp_path, data, uninterrupted, monkeypatch, capfd
):
    folder = tmp_path / "run"
    stopped_at(25, folder, data, monkeypatch)

    def edited(self, state):
        raise KeyError("a name that the edit gave")

    with monkeypatch.context() as patch:
        patch.setattr(GeometryMonitor, "load_state_dict", edited)
        stopped_at(40, folder, data, monkeypatch, "edited")
    train(folder, data, config(), observer_code="edited")
    assert "geometry cannot go on from the checkpoint" in capfd.readouterr().out
    assert provenance(folder)["observers_restarted"] == [{"observer": "geometry", "step": 25}]
    found = contents(folder)
    changed = {name for name in found if found[name] != uninterrupted[name]}
    assert changed == {"records/geometry.parquet"}
    geometry = pd.read_parquet(folder / "records" / "geometry.parquet")
    assert geometry.step.min() > 25 and geometry.step.max() == 72


def test_a_checkpoint_without_the_observers_states_keeps_the_weights(
    tmp_path, data, uninterrupted, monkeypatch
):
    folder = tmp_path / "run"
    stopped_at(25, folder, data, monkeypatch)
    checkpoint = tmp_path / "run.partial" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["recorders"]
    torch.save(state, checkpoint)
    train(folder, data, config())
    assert [found["observer"] for found in provenance(folder)["observers_restarted"]] == [
        "geometry",
        "snapshots",
    ]
    found = contents(folder)
    for name in ("metrics.parquet", "summary", "records/snapshots/00000072.safetensors"):
        assert found[name] == uninterrupted[name]


def test_snapshots_that_were_lost_are_not_forgotten_in_silence(tmp_path, data, monkeypatch, capfd):
    folder = tmp_path / "run"
    stopped_at(45, folder, data, monkeypatch)
    (tmp_path / "run.partial" / "snapshots" / snapshots.file_name(20)).unlink()
    train(folder, data, config())
    assert "are no longer in" in capfd.readouterr().out
    assert min(kept(folder)) > 45 and kept(folder)[-1] == 72


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
    assert (folder / "run.json").exists()


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
    weights = read_tensors(snapshot(folder, 72), "weights")
    facts = provenance(folder)
    assert facts["seconds_per_epoch"] == pytest.approx(facts["seconds_in_updates"] / 4)
    summary = json.loads((folder / "run.json").read_text())["summary"]
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


def test_evaluations_and_snapshots_stand_at_their_steps(tmp_path, data):
    folder = tmp_path / "run"
    train(folder, data, config())
    metrics = pd.read_parquet(folder / "metrics.parquet")
    loss = metrics[(metrics.split == "validation") & (metrics.metric == "loss")]
    assert list(loss.step) == [*range(0, 72, 10), 72]
    train_loss = metrics[(metrics.split == "train") & (metrics.metric == "loss")]
    assert list(train_loss.step) == list(range(0, 72, 5))
    assert loss.value.iloc[0] == pytest.approx(math.log(10), rel=0.05)
    passed = rungs_passed(list(zip(loss.step, loss.value, strict=True)), SHORT["rung_ratio"])
    assert kept(folder) == sorted({20, 40, 60, 72, *passed}) and len(passed) > 3


def kept(folder):
    return [int(path.stem) for path in sorted((folder / "records" / "snapshots").iterdir())]


def test_a_tuning_run_never_reads_the_test_set(tmp_path, data):
    import shutil

    without = tmp_path / "data"
    shutil.copytree(data, without)
    (without / "test.safetensors").unlink()
    train(tmp_path / "run", without, config() | {"phase": "tuning"})
    summary = json.loads((tmp_path / "run" / "run.json").read_text())["summary"]
    assert summary["test_loss"] is None
    assert summary["final_loss"] is not None


def test_a_run_that_diverges_is_a_result(tmp_path, data):
    folder = tmp_path / "run"
    settings = config("adamw", lr=1e30, training={"log_every": 1})
    train(folder, data, settings)
    summary = json.loads((folder / "run.json").read_text())["summary"]
    assert summary["diverged"]
    assert summary["final_loss"] is None
    assert summary["diverged_at"] is not None
    assert kept(folder)[-1] == summary["steps"], "the weights that it stopped with"
    assert summary["initial_loss"] == pytest.approx(math.log(10), rel=0.05)


@pytest.mark.parametrize(
    ("keep", "steps", "updates"),
    [
        (None, None, []),
        ({"snapshots": "none", "updates": True}, None, []),
        ({"snapshots": "end", "updates": False}, [72], []),
        ({"snapshots": "end", "updates": True}, [72], [72]),
        ({"snapshots": "all", "updates": False}, [20, 40, 60, 72], []),
        ({"snapshots": "all", "updates": True}, [20, 40, 60, 72], [20, 40, 60, 72]),
    ],
)
def test_what_is_kept_is_what_the_config_asks_for(keep, steps, updates, tmp_path, data):
    settings = config(training={"rung_ratio": 1e9}) | {"keep": keep}
    if keep is None:
        del settings["keep"]
    folder = tmp_path / "run"
    train(folder, data, settings)
    assert steps == (kept(folder) if (folder / "records" / "snapshots").exists() else None)
    assert updates == [s for s in steps or [] if read_tensors(snapshot(folder, s), "update")]
    assert (folder / "metrics.parquet").exists() and (folder / "records").is_dir()


def test_a_kept_update_leads_to_its_snapshot(tmp_path, data):
    train(tmp_path / "run", data, config(training={"snapshot_every": 10, "eval_every": 10}))
    train(tmp_path / "next", data, config(training={"snapshot_every": 11, "eval_every": 11}))
    before = read_tensors(snapshot(tmp_path / "run", 10), "weights")
    after = read_tensors(snapshot(tmp_path / "next", 11), "weights")
    update = read_tensors(snapshot(tmp_path / "next", 11), "update")
    assert all(torch.equal(update[name], after[name] - before[name]) for name in update)


def test_a_tuning_run_has_no_records(tmp_path, data):
    train(tmp_path / "run", data, config() | {"phase": "tuning"})
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "metrics.parquet"}


def test_watching_moves_no_weight(tmp_path, data):
    train(tmp_path / "watched", data, config(training={"components_every": 1}))
    train(tmp_path / "alone", data, config(training={"geometry_every": None}))
    assert {p.name for p in (tmp_path / "alone" / "records").iterdir()} == {"snapshots"}
    for step in (20, 72):
        one, two = (snapshot(tmp_path / name, step).read_bytes() for name in ("watched", "alone"))
        assert one == two


@pytest.mark.parametrize(
    ("final", "diverged"), [(2.4, True), (2.2, False), (math.nan, True), (math.inf, True)]
)
def test_a_loss_that_ends_above_its_start_is_divergence(final, diverged):
    metrics = Metrics()
    for step, loss in ((0, 2.3), (10, 1.0), (20, final)):
        metrics.add(step, "validation", loss=loss, accuracy=0.5)
    metrics.add(20, WHOLE, loss=final, accuracy=0.5)
    summary = summarise(config(), metrics, steps=20, stopped_at=None)
    assert summary["diverged"] == diverged
    assert summary["best_loss"] == 1.0
    assert summary["final_loss"] == (final if math.isfinite(final) else None)


def test_the_routing_manifest_says_who_trains_what(tmp_path, data):
    train(tmp_path / "run", data, config("muon_hybrid"))
    rows = json.loads((tmp_path / "run" / "run.json").read_text())["routing"]
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
    rows = json.loads((tmp_path / "run" / "run.json").read_text())["routing"]
    biases = [r for r in rows if r["component"] == "bias"]
    assert len(biases) == 4
    assert all(r["optimizer"] == "adamw" and r["weight_decay"] == 0 for r in biases)


def test_a_gpu_that_is_not_there_is_a_clear_sentence(tmp_path, data):
    from muonlab.io.errors import UserError

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match="a GPU was asked for"):
        train(tmp_path / "run", data, config(), device="cuda")
