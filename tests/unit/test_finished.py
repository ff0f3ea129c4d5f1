"""Finished runs, opened again: their points, their weights, and each measurement as a job."""

import json
import math

import pandas as pd
import pytest
import torch
from test_training import config, snapshot, train

from muonlab.data.vision import prepare
from muonlab.io.tensors import read_tensors
from muonlab.measure.ladder import rungs_passed
from muonlab.probes import curvature, direction, quantization, spectra
from muonlab.probes.finished import FinishedRun, Place
from muonlab.probes.job import load_part, measure
from muonlab.training.build import build_model

RATIO = 1.1  # of the ladder, as test_training has it
SETTINGS = {
    "spectra": None,
    "curvature": {
        **{"eigenvalues": 1, "examples": 5000, "trace_samples": 2},
        **{"density": False, "backend": "lanczos", "tolerance": 1e-4},
    },
    "quantization": {"bits": [8], "schemes": ["tensor_quantile"]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder, data, config())
    return folder


@pytest.fixture
def run(folder, data):
    return FinishedRun(folder, data)


def test_a_run_is_measured_at_its_start_its_rungs_and_its_end(run):
    losses = losses_of(run)
    first, *between, last = run.places(99)
    assert first == Place("start", 0, None, losses[0])
    assert (last.point, last.step, last.loss) == ("end", 72, losses[72]) and run.last == 72
    passed = rungs_passed(list(losses.items()), RATIO)
    assert [place.step for place in between] == [step for step in passed if step != 72]
    assert len(between) > 2 and {place.point for place in between} == {"rung"}
    for place in between:
        assert place.loss == losses[place.step] <= RATIO**place.rung
        assert place.rung == passed[place.step].start


def test_few_places_are_some_of_many(run):
    many, few = run.places(99), run.places(2)
    assert set(few) <= set(many) and len(few) <= 4 < len(many)
    assert (few[0], few[-1]) == (many[0], many[-1])


def test_the_weights_at_the_start_are_those_that_the_seed_gives(run):
    first = dict(build_model(run.config, run.facts).named_parameters())
    weights = run.weights(0)
    assert list(weights) == list(first)
    assert all(torch.equal(weights[name], first[name]) for name in first)
    assert run.update(0) is None


def test_weights_and_updates_are_those_that_were_kept(run, folder):
    for read, group in ((run.weights, "weights"), (run.update, "update")):
        kept = read_tensors(snapshot(folder, 40), group)
        assert all(torch.equal(tensor, kept[name]) for name, tensor in read(40).items())
    assert set(run.update(40)) == set(run.weights(40))


def losses_of(run):
    table = pd.read_parquet(run.folder / "metrics.parquet")
    table = table[(table.split == "validation") & (table.metric == "loss")]
    return table.set_index("step").value


def test_a_run_that_kept_its_end_alone(tmp_path, data):
    train(tmp_path / "run", data, config() | {"keep": {"snapshots": "end", "updates": True}})
    run = FinishedRun(tmp_path / "run", data)
    assert [place.step for place in run.places(9)] == [0, 72]
    assert run.update(72) is not None


@pytest.mark.parametrize("log_every", [1, 7], ids=["in an update", "at an evaluation"])
@pytest.mark.parametrize("keep", ["end", "all"])
def test_a_run_that_diverged_is_measured_all_the_same(keep, log_every, tmp_path, data):
    training = {"log_every": log_every, "eval_every": 10, "snapshot_every": 10}
    settings = config("adamw", lr=1e30, training=training)
    settings |= {"keep": {"snapshots": keep, "updates": True}}
    train(tmp_path / "run", data, settings)
    run = FinishedRun(tmp_path / "run", data)
    assert 0 < run.last < 72 and run.kept[-1] == run.last
    places = run.places(8)
    assert (places[0].step, places[-1].step) == (0, run.last)
    assert places[-1].loss is None or not math.isfinite(places[-1].loss)
    assert not all(w.isfinite().all() for w in run.weights(run.last).values())
    rows = list(spectra.spectra(run, places))
    assert {row["point"] for row in rows} >= {"start", "end"}


# ---------------------------------------------------------------- measurements as jobs


def job_of(probe, **changes):
    job = {"make": f"muonlab.probes.{probe}:{probe}", "settings": SETTINGS.get(probe)}
    split = {"curvature": "train", "quantization": "test"}.get(probe, "")
    return job | {"along": 2, "split": split, "seeds": [1]} | changes


@pytest.mark.parametrize("module", [spectra, curvature, quantization], ids=lambda m: m.__name__)
def test_a_job_writes_what_the_function_gives(module, run, folder, data, tmp_path):
    name = module.__name__.rpartition(".")[2]
    measure(job_of(name), [folder], data, "cpu", tmp_path / "rows.parquet")
    table = pd.read_parquet(tmp_path / "rows.parquet")
    of_an_arm = getattr(module, name).of == "arm"  # such a table has the seed of each run
    assert list(table) == ["seed"] * of_an_arm + list(module.COLUMNS)
    given = {"run": run, "places": run.places(2)}
    if name != "spectra":
        split = load_part(job_of(name)["split"], run, data, "cpu")
        given |= {"split": split, "settings": SETTINGS[name], "device": "cpu"}
    expected = [row.get("value") for row in getattr(module, name)(**given)]
    assert json.dumps(list(table.value)) == json.dumps(expected)


def test_curvature_is_of_no_more_examples_than_there_are(folder, data, tmp_path):
    measure(job_of("curvature"), [folder], data, "cpu", tmp_path / "rows.parquet")
    assert set(pd.read_parquet(tmp_path / "rows.parquet").examples) == {1797 - 300 - 360}


def test_a_job_for_an_arm_has_the_seed_of_each_run(run, folder, data, tmp_path):
    job = job_of("direction", seeds=[7, 8], along=None)
    measure(job, [folder, folder], data, "cpu", tmp_path / "rows.parquet")
    table = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(table) == ["seed", *direction.COLUMNS]
    own = list(direction.direction(run))
    assert len(own) > 0 and list(table.seed) == [7] * len(own) + [8] * len(own)
    assert list(table.value) == [row["value"] for row in own] * 2
    measure(job_of("direction"), [folder], data, "cpu", tmp_path / "one.parquet")
    assert set(pd.read_parquet(tmp_path / "one.parquet").seed) == {1}


def test_a_job_for_a_run_has_one(folder, data, tmp_path):
    with pytest.raises(ValueError, match="too many"):
        measure(job_of("curvature"), [folder, folder], data, "cpu", tmp_path / "rows.parquet")


@pytest.mark.parametrize("module", [spectra, curvature, quantization], ids=lambda m: m.__name__)
def test_the_loss_of_a_row_is_that_of_the_data_that_is_measured(
    module, run, folder, data, tmp_path
):
    name = module.__name__.rpartition(".")[2]
    measure(job_of(name), [folder], data, "cpu", tmp_path / "rows.parquet")
    table = pd.read_parquet(tmp_path / "rows.parquet")
    losses = table.groupby("step").loss
    assert losses.nunique().eq(1).all() and len(losses) == len(run.places(2))
    if name == "spectra":
        known = losses_of(run)
    else:
        own = table[table.metric == "loss"]
        if name == "quantization":
            own = own[own.scheme == quantization.FULL]
        known = own.set_index("step").value
    for step, loss in losses.first().items():
        assert loss == known[step]
