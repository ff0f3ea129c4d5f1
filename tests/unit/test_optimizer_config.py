"""The config's optimizer sections are made of what the optimizers declare."""

import pytest
import torch
from torch import nn

from muonlab.optim.factory import build_optimizer, optimizer_class
from muonlab.optim.hyperparameters import Precision
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.precision import DTYPES
from muonlab.plan.naming import defaults_of
from muonlab.plan.optimizers import COMPONENTS, OPTIMIZERS

ROUTED = {"components", "adamw"}
Muon = OPTIMIZERS["muon"]


def test_the_optimizers_are_those_that_there_were():
    assert set(OPTIMIZERS) == {
        *("adamuon", "adamw", "dion", "muon", "muonclip", "normuon", "sgd", "soap", "spectral")
    }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_what_is_read_off_the_source_is_what_the_class_has(name):
    rates = {"lr", "embedding_ratio", "head_ratio", "vector_ratio"}  # of groups, not of the class
    section = {k: v for k, v in defaults_of(OPTIMIZERS[name]).items() if k not in rates}
    cls = optimizer_class(name)
    routed = ROUTED if issubclass(cls, MatrixOptimizer) else set()
    fixed = {"momentum", "nesterov"} if name == "spectral" else set()
    own = {n: default for n, (_, default) in cls.settings.items() if n not in fixed}
    assert own.pop("dtype", "auto") == "auto"  # the class's; a study's results depend on no machine
    assert section.pop("dtype", None) is None
    assert {k: v for k, v in section.items() if k not in routed} == own
    assert routed <= set(section)


def test_every_precision_can_be_named():
    assert set(Precision.__args__) == {"auto", *DTYPES}


def test_components_have_one_spelling():
    named = Muon(name="muon", components=["down", "attention", "query", "hidden"]).components
    attention = ["query", "key", "value", "query_key_value", "attention_output"]
    assert named == ["hidden", *attention, "down"]
    everything = Muon(name="muon").components
    assert set(COMPONENTS) - set(everything) == {"embedding", "head"}
    assert Muon(name="muon", components=everything[::-1]).components == everything
    with pytest.raises(ValueError, match="'keys'"):
        Muon(name="muon", components=["keys"])


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5, bias=True), nn.Linear(5, 3, bias=False)

    def forward(self, x):
        return self.b(self.a(x).relu())

    def components(self):
        return {"a.weight": "input", "a.bias": "bias", "b.weight": "output"}


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"muonclip"}))
def test_a_section_with_its_defaults_trains(name):
    torch.manual_seed(0)
    model = TwoLayers()
    section = OPTIMIZERS[name](name=name, lr=0.02).model_dump()
    optimizer = build_optimizer(model, section)
    x, y = torch.randn(64, 6), torch.randint(3, (64,))
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


def test_help_shows_every_setting_and_a_fixed_one_cannot_be_given():
    from inspect import signature

    from muonlab.optim.muon import Muon
    from muonlab.optim.spectral import Spectral

    assert signature(Muon).parameters["momentum"].default == 0.95
    assert "momentum" not in signature(Spectral).parameters
    p = nn.Parameter(torch.ones(3, 3))
    assert Spectral([p]).param_groups[0]["momentum"] == 0.0
    with pytest.raises(TypeError, match="Spectral has no argument momentum"):
        Spectral([p], momentum=0.9)
