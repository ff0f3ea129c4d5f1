"""What a GPU computes, against the same on a CPU. All of this is skipped on a machine without one;
`benchmarks/gpu.sh` runs it.

Products in float32 are exact enough on both for a tolerance of 1e-3 of the largest entry, since
torch does not use TF32 unless it is asked to.
"""

import copy
import json

import pandas as pd
import pytest
import torch
from test_devices import KINDS, model_of
from test_language_training import corpus, settings_of  # noqa: F401 (a fixture)

from muonlab.measure.gram import gram_system
from muonlab.optim.factory import build_optimizer
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.training.build import build_splits
from muonlab.training.loop import Interrupted, Trainer
from muonlab.training.run import train_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
STEPS = 3


def loss_of(kind, model, device):
    generator = torch.Generator().manual_seed(5)
    if kind == "mlp":
        return model(torch.randn(4, 50, generator=generator).to(device)).logsumexp(-1).sum()
    tokens = torch.randint(64, (2, 16), generator=generator).to(device)
    logits = model(tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())
    return loss + model.auxiliary_loss()


def assert_alike(found, wanted, share=1e-3):
    """Equal up to a share of the largest entry."""
    wanted = wanted.detach().double()
    largest = max(wanted.abs().max().item(), 1e-12)
    torch.testing.assert_close(found.detach().cpu().double(), wanted, atol=share * largest, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_a_cpu(kind):
    models = {device: model_of(kind, device) for device in ("cpu", "cuda")}
    losses = {device: loss_of(kind, model, device) for device, model in models.items()}
    for loss in losses.values():
        loss.backward()
    assert losses["cuda"].item() == pytest.approx(losses["cpu"].item(), rel=1e-5)
    for p, q in zip(models["cpu"].parameters(), models["cuda"].parameters(), strict=True):
        assert_alike(q.grad, p.grad)


@pytest.mark.parametrize("kind", ["mlp", "dense", "moe"])
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"muonclip"}))  # it reads logits
def test_every_optimizer_steps_as_on_a_cpu(name, kind):
    section = OPTIMIZERS[name](name=name).model_dump() | {"lr": 0.01}
    if "dtype" in section:
        section["dtype"] = "float32"
    models = {device: model_of(kind, device) for device in ("cpu", "cuda")}
    optimizers = {d: build_optimizer(model, section) for d, model in models.items()}
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        for p, q in zip(models["cpu"].parameters(), models["cuda"].parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.cuda()
        for optimizer in optimizers.values():
            optimizer.step()
        if step == 0:
            # A first gradient of less than full rank leaves part of SOAP's eigenbasis open, so that
            # each device takes another one. From here on both have the same.
            optimizers["cuda"].load_state_dict(copy.deepcopy(optimizers["cpu"].state_dict()))
            models["cuda"].load_state_dict(models["cpu"].state_dict())
    for p, q in zip(models["cpu"].parameters(), models["cuda"].parameters(), strict=True):
        assert_alike(q, p, share=2e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("experts", [0, 4])
def test_a_run_that_was_interrupted_ends_in_the_same_weights(corpus, precision, experts):  # noqa: F811
    settings = settings_of(model={"experts": experts}, training={"precision": precision})
    facts = json.loads((corpus / "digest.json").read_text())

    def trainer():
        return Trainer(settings, facts, build_splits(settings, corpus, facts, "cuda"), "cuda")

    whole, first, second = trainer(), trainer(), trainer()
    whole.train(lambda: None, 1e9)
    saved = []

    def save():
        saved.append(first.state_dict())
        first.stop_requested = len(saved) == 3

    with pytest.raises(Interrupted):
        first.train(save, 0)
    second.load_state_dict(saved[-1])
    second.train(lambda: None, 1e9)
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


def losses(folder):
    metrics = pd.read_parquet(folder / "metrics.parquet")
    return metrics[(metrics.split == "train") & (metrics.metric == "loss")].value.to_numpy()


@pytest.mark.parametrize("experts", [0, 4])
def test_a_whole_run_with_records_has_the_losses_of_a_cpu(tmp_path, corpus, experts):  # noqa: F811
    settings = settings_of(model={"experts": experts, "dropout": 0.0, "router_noise": 0.0})
    for device in ("cpu", "cuda"):
        train_run(settings, "code", "observers", corpus, tmp_path / device, device)
    on_cpu, on_gpu = losses(tmp_path / "cpu"), losses(tmp_path / "cuda")
    assert on_gpu == pytest.approx(on_cpu, rel=2e-3)
    made = json.loads((tmp_path / "cuda" / "run.json").read_text())["provenance"]
    assert made["device_type"] == "cuda" and made["peak_device_bytes"] > 0
    tables = {
        d: pd.read_parquet(tmp_path / d / "records" / "geometry.parquet") for d in ("cpu", "cuda")
    }
    assert len(tables["cuda"]) == len(tables["cpu"])
    spectral = tables["cpu"].metric == "spectral_norm"
    assert spectral.any()
    for row, same in zip(
        tables["cuda"][spectral].value, tables["cpu"][spectral].value, strict=True
    ):
        assert row == pytest.approx(same, rel=2e-2)


def test_a_compiled_run_has_the_losses_of_one_that_is_not(tmp_path, corpus):  # noqa: F811
    found = {}
    for compiled in (False, True):
        training = {"precision": "bfloat16", "compile": compiled, "mask_documents": False}
        settings = settings_of(model={"experts": 0, "dropout": 0.0}, training=training)
        folder = tmp_path / str(compiled)
        train_run(settings, "code", "observers", corpus, folder, "cuda")
        found[compiled] = losses(folder)
    assert found[True] == pytest.approx(found[False], rel=1e-2)


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 15, 784), (2, 200, 120), (2, 5, 1)])
def test_spectra_are_those_of_a_cpu(shape):
    W = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    sigma = torch.linalg.svdvals(W.double())
    found, U, V = gram_system(W.cuda(), 1)
    torch.testing.assert_close(found.cpu(), sigma, atol=1e-6, rtol=1e-6)
    top = (U.mT @ W.cuda().double() @ V).abs().flatten().cpu()
    torch.testing.assert_close(top, sigma[:, 0], atol=1e-6, rtol=1e-6)
