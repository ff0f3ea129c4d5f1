"""The config's optimizer sections are made of what the optimizers declare."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from muonlab.optim import declared
from muonlab.optim.factory import build_optimizers, optimizer_class
from muonlab.optim.fields import Precision
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.precision import DTYPES
from muonlab.plan.naming import defaults_of
from muonlab.plan.optimizers import COMPONENTS, OPTIMIZERS

LIBRARY = Path(declared.__file__).parents[1]
ROUTED = {"components", "adamw"}
Muon = OPTIMIZERS["muon"]


def test_the_optimizers_are_those_that_there_were():
    assert set(OPTIMIZERS) == {
        *("adamuon", "adamw", "dion", "muon", "muonclip", "normuon", "sgd", "soap", "spectral")
    }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_what_is_read_off_the_source_is_what_the_class_has(name):
    section = {k: v for k, v in defaults_of(OPTIMIZERS[name]).items() if k != "lr"}
    cls = optimizer_class(name)
    routed = ROUTED if issubclass(cls, MatrixOptimizer) else set()
    fixed = {"momentum", "nesterov"} if name == "spectral" else set()
    own = {n: default for n, (_, default) in cls.settings.items() if n not in fixed}
    assert {k: v for k, v in section.items() if k not in routed} == own
    assert routed <= set(section)


def test_every_precision_can_be_named():
    assert set(Precision.__args__) == {"auto", *DTYPES}


def test_components_have_one_spelling():
    named = Muon(name="muon", components=["down", "attention", "query", "hidden"]).components
    assert named == ["hidden", "query", "key", "value", "attention_output", "down"]
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
    optimizers = build_optimizers(model, section)
    x, y = torch.randn(64, 6), torch.randint(3, (64,))
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizers.zero_grad()
        loss.backward()
        optimizers.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


FOURTH = '''"""Lion: the sign of a momentum, for matrices."""

import torch

from muonlab.optim.declared import optimizer
from muonlab.optim.fields import Beta, NotNegative
from muonlab.optim.matrix_optimizer import MatrixOptimizer


@optimizer
class Lion(MatrixOptimizer):
    """Chen et al., arXiv 2302.06675, without its second rate."""

    weight_decay: NotNegative = 0.1
    """Decoupled weight decay."""
    beta: Beta = 0.9
    """Decay rate of the momentum."""

    def update(self, p, group):
        state = self.state[p]
        state.setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["beta"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.sub_(state["momentum"].sign(), alpha=group["lr"])
'''
TRAINS = """
import torch
from muonlab.models.mlp import MLP
from muonlab.optim.factory import build_optimizers
from muonlab.plan.optimizers import OPTIMIZERS
section = OPTIMIZERS["lion"](name="lion", lr=0.5, beta=0.8).model_dump()
net = MLP(6, 3, 8, 2, False, "relu")
before = [p.detach().clone() for p in net.parameters()]
optimizers = build_optimizers(net, section)
net(torch.randn(4, 6)).square().mean().backward()
optimizers.step()
assert all(not torch.equal(p, b) for p, b in zip(net.parameters(), before))
assert [g["beta"] for g in optimizers.optimizers["lion"].param_groups] == [0.8]
try:
    OPTIMIZERS["lion"](name="lion", beta=1.0)
except ValueError as refused:
    assert "less than 1" in str(refused)
from muonlab.plan.schema import json_schema
assert "Decay rate of the momentum." in json_schema()
"""


def run(code, library):
    """Runs Python code with the library that lies in a folder."""
    environment = os.environ | {"PYTHONPATH": str(library), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def library(tmp_path):
    """A folder with a copy of the library."""
    shutil.copytree(LIBRARY, tmp_path / "muonlab", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_new_optimizer_is_one_new_file(library):
    (library / "muonlab/optim/lion.py").write_text(FOURTH)
    done = run(TRAINS, library)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beta: Beta", "beta: Betta"),
        ("Beta = 0.9", "Beta = torch.tensor(0.9)"),
        ('    """Decay rate of the momentum."""\n', ""),
    ],
    ids=["type", "default", "sentence"],
)
def test_a_setting_that_is_not_complete_is_named(library, old, new):
    (library / "muonlab/optim/lion.py").write_text(FOURTH.replace(old, new))
    assert "Lion.beta: a setting needs" in run("import muonlab.plan.optimizers", library).stderr


def test_optimizers_need_torch_alone(library):
    shutil.rmtree(library / "muonlab/plan")
    code = "import sys; sys.modules['pydantic'] = None; from muonlab.optim.muon import Muon;"
    done = run(code + "print(Muon.settings['momentum'][1])", library)
    assert done.stdout == "0.95\n", done.stderr


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
