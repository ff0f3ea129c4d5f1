"""The config's optimizer sections mirror the optimizers' own fields and defaults."""

import pytest
import torch
from torch import nn

from muonlab.optim.coefficients import SCHEDULES
from muonlab.optim.factory import REGISTRY, build_optimizers
from muonlab.optim.scale import SCALES
from muonlab.plan.naming import defaults_of
from muonlab.plan.optimizers import COMPONENTS, OPTIMIZERS, Muon, Scale, ScheduleName

ROUTED = {"components", "adamw"}


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_every_optimizer_can_be_configured():
    assert set(OPTIMIZERS) == set(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_fields_and_defaults_are_the_optimizers_own(name):
    section = {k: v for k, v in defaults_of(OPTIMIZERS[name]).items() if k != "lr"}
    routed = ROUTED if REGISTRY[name].matrices_only else set()
    own = {field: plain(value) for field, value in REGISTRY[name].defaults.items()}
    assert {k: v for k, v in section.items() if k not in routed} == own
    assert routed <= set(section)


def test_every_schedule_can_be_named():
    assert set(ScheduleName.__args__) == set(SCHEDULES) | {"exact"}


def test_every_scale_can_be_named():
    assert Scale.__args__ == SCALES


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


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - {"muonclip"}))
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
