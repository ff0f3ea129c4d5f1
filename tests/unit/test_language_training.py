"""Language-model runs: the loss that they start from, over-fitting, resume, faults."""

import json
import math
import signal

import numpy as np
import pytest
import torch
from test_training import contents, in_child, signalled_at

from muonlab.data.text import prepare
from muonlab.models.transformer import Transformer
from muonlab.optim.factory import build_optimizer, set_lr_factor
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.probes.curvature import curvature, fixed_loss
from muonlab.probes.descent import descent
from muonlab.probes.finished import FinishedRun
from muonlab.probes.job import load_part
from muonlab.probes.quantization import quantization
from muonlab.probes.spectra import spectra
from muonlab.streams import numpy_generator
from muonlab.training.build import build_splits
from muonlab.training.loop import Trainer
from muonlab.training.run import train_run

MODEL = {
    "name": "transformer",
    "context": 16,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "kv_heads": None,
    "feedforward": 32,
    "activation": "silu",
    "experts": 4,
    "top_k": 2,
    "router_noise": 0.1,
    "balance_loss": 0.01,
    "z_loss": 0.001,
    "capacity": None,
    "qk_norm": False,
    "tied": True,
    "dropout": 0.1,
    "positions": "rope",
    "rope_base": 10000.0,
}
TRAINING = {
    "epochs": 1,
    "steps": 24,
    "batch_size": 4,
    "accumulation": 2,
    "clip": 1.0,
    "schedule": "cosine",
    "warmup_steps": 4,
    "final_lr_fraction": 0.1,
    "schedule_steps": None,
    "warmup_from_zero": False,
    "precision": "float32",
    "compile": False,
    "train_on": ["train"],
    "evaluate_on": "validation",
    "evaluation_examples": 8,
    "windows": "disjoint",
    "mask_documents": True,
    "paired": True,
    "log_every": 3,
    "eval_every": 6,
    "rung_ratio": 1.1,
    "snapshot_every": 12,
    "geometry_every": 6,
    "components_every": 4,
}
WORDS = ["muon", "adam", "loss", "step", "rate", "norm", "rank", "batch", "seed", "width"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A prepared corpus of random sentences, in which no two documents share a long span."""
    folder = tmp_path_factory.mktemp("corpus")
    random = numpy_generator(0, "test corpus")
    documents = [" ".join(random.choice(WORDS, 120)) for _ in range(120)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    settings = {
        "source": "local",
        "files": [str(folder / "text.txt")],
        "field": "text",
        "document_start": None,
        "vocab_size": 280,
        "tokenizer": None,
        "max_tokens": None,
        "validation": 0.15,
        "test": 0.15,
        "split_seed": 0,
        "near_duplicates": 0.8,
    }
    prepare("words", settings, folder / "prepared")
    return folder / "prepared"


def settings_of(name="muon", model=None, training=None, **optimizer):
    section = OPTIMIZERS[name](name=name).model_dump() | {"lr": 0.01} | optimizer
    return {
        "data": "words",
        "model": MODEL | (model or {}),
        "training": TRAINING | (training or {}),
        "optimizer": section,
        "seed": 1,
        "phase": "reporting",
        "keep": {"snapshots": "all", "updates": True},
    }


def train(folder, corpus, settings):
    train_run(settings, "code", "observers", corpus, folder, checkpoint_seconds=0)


def test_a_language_run_stopped_and_resumed_ends_in_the_same_bytes(tmp_path, corpus, monkeypatch):
    assert in_child(lambda: train(tmp_path / "whole", corpus, settings_of())) == 0
    folder = tmp_path / "run"
    for step, number, code in ((5, signal.SIGKILL, -9), (13, signal.SIGTERM, 143)):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_update", signalled_at(step, number))
            assert in_child(lambda: train(folder, corpus, settings_of())) == code
        assert not (folder / "run.json").exists()
    assert in_child(lambda: train(folder, corpus, settings_of())) == 0
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize("experts", [0, 4])
def test_the_loss_starts_at_that_of_a_guess(tmp_path, corpus, experts):
    train(tmp_path / "run", corpus, settings_of(model={"experts": experts}, training={"steps": 1}))
    summary = json.loads((tmp_path / "run" / "run.json").read_text())["summary"]
    vocab = json.loads((corpus / "digest.json").read_text())["vocab"]
    assert summary["initial_loss"] == pytest.approx(math.log(vocab), rel=0.02)


RATES = {"adamw": 0.01, "sgd": 0.3, "soap": 0.01, "dion": 0.02}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_overfits_one_batch(name):
    torch.manual_seed(0)
    sizes = dict(vocab=64, context=16, width=32, layers=2, heads=4, feedforward=64)
    model = Transformer(**sizes)
    model.initialise(1, "init")
    section = OPTIMIZERS[name](name=name).model_dump()
    section |= {"lr": RATES.get(name, 0.02), "weight_decay": 0.0}
    optimizer = build_optimizer(model, section)
    tokens = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(1))
    for step in range(600):
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        if loss < 0.05:
            return
        optimizer.zero_grad()
        loss.backward()
        set_lr_factor(optimizer, 1 - step / 600)
        optimizer.step()
    raise AssertionError(f"{name} ended at a loss of {loss.item():.3f}")


def trainer_of(corpus, **changes):
    settings = settings_of(model={"dropout": 0.0, "router_noise": 0.0, "experts": 0}, **changes)
    facts = json.loads((corpus / "digest.json").read_text())
    splits = build_splits(settings, corpus, facts, "cpu")
    return Trainer(settings, facts, splits)


def test_accumulated_batches_give_the_gradient_of_one_large_batch(corpus):
    """Documents are not masked in the loss of a window alone, so windows weigh by their targets;
    these have one document each, all of them alike."""
    masked = {"mask_documents": False}
    small = trainer_of(corpus, training={"batch_size": 2, "accumulation": 3} | masked)
    large = trainer_of(corpus, training={"batch_size": 6, "accumulation": 1} | masked)
    parts = [small.update.batches.indices(k) for k in range(3)]
    assert np.array_equal(np.concatenate(parts), large.update.batches.indices(0))
    for trainer in (small, large):
        trainer.update.gradients(0)
    for a, b in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0.02, atol=2e-4)


def test_text_stays_in_its_file_until_it_is_used(corpus):
    tokens = trainer_of(corpus).splits["train"].windows.tokens
    assert isinstance(tokens, np.memmap)


def test_the_whole_split_is_read_after_the_last_update(corpus):
    """Evaluations along the run read a part, and the final loss is that of the whole split."""
    run = trainer_of(corpus, training={"evaluation_examples": 3})
    run.train(lambda: None, 1e9)
    split = run.splits["validation"]
    whole, part = split.evaluate(run.model), split.evaluate(run.model, 3)
    assert run.summary()["final_loss"] == whole["loss"] != part["loss"]
    assert run.metrics.series("validation", "loss")[-1][1] == part["loss"]


def test_clipping_bounds_the_gradient_and_tells_its_norm_before(corpus):
    trainer = trainer_of(corpus, training={"clip": 1e-3})
    trainer.update.gradients(0)
    before = trainer.update.gradient_norm()
    assert trainer.update.clip() == pytest.approx(before)
    assert trainer.update.gradient_norm() == pytest.approx(1e-3, rel=1e-3)


def test_overlapping_windows_evaluate_beside_what_was_trained(corpus):
    trainer = trainer_of(corpus, training={"windows": "overlapping"})
    train_starts = set(trainer.splits["train"].windows.starts(np.arange(5000)).tolist())
    near = trainer.splits["validation"].windows.starts(np.arange(50))
    assert not train_starts & set(near.tolist())
    length = len(trainer.splits["train"]) + len(trainer.splits["validation"])
    assert length > 10 * len(trainer.splits["report"])


def test_bfloat16_keeps_weights_and_state_in_float32(corpus):
    trainer = trainer_of(corpus, training={"precision": "bfloat16"})
    trainer.update.gradients(0)
    trainer.update.apply(0)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    for state in trainer.optimizer.state.values():
        moments = [v for v in state.values() if torch.is_tensor(v) and v.ndim > 0]
        assert {v.dtype for v in moments} == {torch.float32}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(folder, corpus, settings_of(training={"steps": 12}))
    return FinishedRun(folder, corpus)


def test_spectra_of_a_language_run_hold_every_expert(finished):
    rows = [r for r in spectra(finished, finished.places(8)) if r["metric"] == "spectral_norm"]
    weights = finished.weights(12)
    name = next(n for n in weights if weights[n].ndim == 3)
    at_end = {r["expert"]: r["value"] for r in rows if r["tensor"] == name and r["point"] == "end"}
    assert len(at_end) == len(weights[name])


def test_curvature_of_a_language_model_follows_its_loss(finished, corpus):
    split = load_part("train", finished, corpus, "cpu")
    loss = fixed_loss(split, 6)
    settings = {"eigenvalues": 1, "examples": 6, "trace_samples": 2}
    settings |= {"density": False, "backend": "lanczos", "tolerance": 1e-6}
    rows = {
        (r["step"], r["metric"]): r["value"]
        for r in curvature(finished, finished.places(8), split, settings, "cpu")
    }
    model = finished.model(finished.weights(12)).double()
    here = loss(model).item()
    assert rows[12, "loss"] == pytest.approx(here, rel=1e-9)
    # Along the run's last update the second difference of the loss is its directional sharpness.
    update = {name: u.double() for name, u in finished.update(12).items()}
    size = torch.cat([u.flatten() for u in update.values()]).norm()
    step, values = 1e-3, []
    for sign in (1, -1):
        moved = {
            n: w.double() + sign * step * update[n] / size for n, w in finished.weights(12).items()
        }
        model.load_state_dict(moved)
        values.append(loss(model).item())
    second = (values[0] - 2 * here + values[1]) / step**2
    assert rows[12, "directional_sharpness"] == pytest.approx(second, rel=0.02, abs=1e-3)


def test_the_descent_of_kept_updates_is_that_of_the_loss(finished, corpus):
    run, split = finished, load_part("train", finished, corpus, "cpu")
    places = [place for place in run.places(2) if place.step > 0]
    rows = list(descent(run=run, places=places, split=split, device="cpu"))
    end = {row["metric"]: row["value"] for row in rows if row["point"] == "end"}
    loss = fixed_loss(split, rows[0]["examples"])
    after = float(loss(run.model(run.weights(run.last)).double()).detach())
    (before,) = {row["loss"] for row in rows if row["point"] == "end"}
    assert before - after == pytest.approx(end["decrease"], abs=1e-7)
    assert end["penalty"] == pytest.approx(end["within"] + end["across"])
    assert abs(end["remainder"]) < abs(end["gain"]) + abs(end["penalty"])
    moved = math.sqrt(sum(move.double().square().sum() for move in run.update(run.last).values()))
    assert end["norm"] == pytest.approx(moved, rel=1e-6)


def test_quantized_language_models_lose_more_with_fewer_bits(finished, corpus):
    test = load_part("test", finished, corpus, "cpu")
    settings = {"bits": [8, 2], "schemes": ["tensor_quantile", "group_minmax"]}
    rows = list(quantization(finished, finished.places(8), test, settings, "cpu"))
    errors = {
        bits: np.mean(
            [r["value"] for r in rows if r["bits"] == bits and r["metric"] == "relative_error"]
        )
        for bits in (8, 2)
    }
    assert 0 < errors[8] < 0.2 < errors[2]
    assert all(math.isfinite(r["value"]) for r in rows if r["metric"] == "loss")
