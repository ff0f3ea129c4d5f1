"""One step of every model and optimizer on torch's meta device: no tensor is made on another one.

A tensor that is made on the CPU by mistake shows on a GPU alone, where it stops a run. Here the
model's tensors have no values and lie on the device "meta", and an operation that takes tensors of
two devices is an error. Single numbers may lie on the CPU, as torch lets them, and a copy to the
device may take a tensor from it. What a GPU computes is for the tests that need one
(`benchmarks/gpu.sh`).
"""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from muonlab import muon_with_adamw
from muonlab.models import grouped
from muonlab.optim.factory import build_optimizer
from muonlab.plan.models import MODELS
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.training.build import build_model

LANGUAGE = {"width": 48, "layers": 2, "heads": 2, "context": 16, "feedforward": 64}
KINDS = {
    "mlp": ("mlp", {"bias": True}),
    "dense": ("transformer", LANGUAGE | {"activation": "swiglu", "qk_norm": True, "kv_heads": 1}),
    "fused": ("transformer", LANGUAGE | {"fused_attention": True, "tied": False}),
    "moe": ("transformer", LANGUAGE | {"experts": 3, "capacity": 1.0, "z_loss": 1e-3}),
}
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_foreach_copy_")


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, single numbers and copies aside."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [t for t in tree_leaves((args, kwargs)) if torch.is_tensor(t) and t.ndim]
        devices = {t.device.type for t in tensors}
        if len(devices) > 1 and func._schema.name not in COPIES:
            raise AssertionError(f"{func} takes tensors of {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """torch knows no autocast on the meta device; there is a grouped product as on a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **settings: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *args: False)
    monkeypatch.setattr(grouped, "has_grouped_kernel", lambda x, weight: True)


def model_of(kind, device="meta"):
    name, settings = KINDS[kind]
    section = MODELS[name](name=name, **settings).model_dump()
    config = {"model": section, "seed": 0, "training": {"paired": True}, "phase": "tuning"}
    return build_model(config, {"vocab": 64, "inputs": 50, "classes": 10}).to(device)


def loss_of(kind, model, documents=False):
    if kind == "mlp":
        return model(torch.empty(4, 50, device="meta")).logsumexp(-1).sum()
    tokens = torch.empty(2, 16, dtype=torch.int64, device="meta")
    logits = model(tokens, tokens if documents else None)
    loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())
    return loss + model.auxiliary_loss()


def all_on_meta(tensors):
    return all(t.device.type == "meta" for t in tensors if torch.is_tensor(t) and t.ndim)


def state_of(optimizer):
    return [t for state in optimizer.state.values() for t in state.values()]


def test_a_tensor_on_the_wrong_device_is_found():
    with OneDevice(), pytest.raises(AssertionError, match="bmm.* takes tensors of cpu and meta"):
        torch.bmm(torch.empty(1, 2, 2, device="meta"), torch.empty(1, 2, 2))


# torch's class AdamW refuses to begin on this device. The groups that AdamW updates do not.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"muonclip", "adamw"}))
def test_a_step_stays_on_its_device(name, kind):
    model = model_of(kind)
    optimizer = build_optimizer(model, OPTIMIZERS[name](name=name).model_dump())
    with OneDevice():
        for _ in range(2):
            for p in model.parameters():
                p.grad = torch.empty_like(p)
            optimizer.step()
    assert state_of(optimizer) and all_on_meta(state_of(optimizer))


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_passes_stay_on_their_device(kind, documents):
    model = model_of(kind)
    if kind == "moe":
        model = model.bfloat16()  # the only precision of a grouped product on a GPU
    with OneDevice():
        loss = loss_of(kind, model, documents)
        loss.backward()
    grads = [p.grad for p in model.parameters()]
    assert loss.device.type == "meta" and all_on_meta(grads)
    assert all(grad is not None for grad in grads)


def test_a_step_of_muonclip_stays_on_its_device():
    model = model_of("fused")
    optimizer = build_optimizer(model, OPTIMIZERS["muonclip"](name="muonclip").model_dump())
    with OneDevice():
        loss_of("fused", model).backward()
        optimizer.step()
    assert state_of(optimizer) and all_on_meta(state_of(optimizer))


@pytest.mark.parametrize(
    "settings",
    [{}, {"dtype": "bfloat16"}, {"scale": "fixed_rms"}, {"ns_coefficients": "exact"}],
    ids=str,
)
def test_a_whole_models_step_stays_on_its_device(settings):
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(48, 2, 320, batch_first=True), 2)
    model = nn.Sequential(nn.Embedding(9, 48), encoder, nn.Linear(48, 9)).to("meta")
    optimizer = muon_with_adamw(model, **settings)
    with OneDevice():
        for _ in range(2):
            model(torch.empty(2, 5, dtype=torch.int64, device="meta")).sum().backward()
            optimizer.step()
    assert state_of(optimizer) and all_on_meta(state_of(optimizer))
