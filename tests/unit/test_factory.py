"""From a plain config section to optimizers."""

import copy

import pytest
import torch
from torch import nn

from muonlab.models.mlp import MLP
from muonlab.optim.factory import build_optimizer, optimizer_class, set_lr_factor
from muonlab.optim.precision import native_dtype
from muonlab.optim.routing import manifest
from muonlab.plan.optimizers import OPTIMIZERS

CONFIG = {
    "name": "muon",
    "lr": 0.01,
    "momentum": 0.95,
    "nesterov": True,
    "ns_steps": 5,
    "ns_coefficients": "jordan",
    "scale": "match_rms_adamw",
    "weight_decay": 0.01,
    "orthogonalize": True,
    "components": ["input", "hidden"],
    "adamw": {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.3},
}


class Attention(nn.Module):
    """One attention layer's weights, with what MuonClip asks of a model."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Parameter(torch.randn(24, 8))
        self.out = nn.Parameter(torch.randn(8, 8))
        self.bias = nn.Parameter(torch.zeros(8))

    def components(self):
        return {"qkv": "qkv", "out": "out", "bias": "bias"}

    def qk_clip_targets(self):
        return [(self.qkv.data[:8], self.qkv.data[8:16], torch.tensor([400.0, 1.0]))]


def model(bias=True):
    torch.manual_seed(0)
    return MLP(20, 5, 8, 2, bias, "relu")


def train(net, optimizer, seeds):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        optimizer.zero_grad()
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        set_lr_factor(optimizer, 1 / (1 + seed))
        optimizer.step()


def config_for(name):
    return {
        "name": name,
        "lr": 0.01,
        "components": CONFIG["components"],
        "adamw": CONFIG["adamw"],
    }


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_name_builds_from_plain_data_trains_everything_and_resumes_bitwise(name):
    config = config_for(name)
    net = Attention() if name == "muonclip" else model()
    if name == "muonclip":
        config["components"] = ["qkv", "out"]
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = build_optimizer(net, config)
    assert {r.tensor for r in manifest(net, optimizer)} == {n for n, _ in net.named_parameters()}
    train(net, optimizer, range(2))
    assert not any(torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))
    twin = copy.deepcopy(net)
    resumed = build_optimizer(twin, config)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for trained, own in ((net, optimizer), (twin, resumed)):
        train(trained, own, range(2, 4))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_defaults_are_the_constructors_own(name):
    """A config that sets nothing gives what the class gives when called with nothing."""
    cls = optimizer_class(name)
    group = cls([nn.Parameter(torch.ones(3, 3))]).param_groups[0]
    for field, (_, default) in cls.settings.items():
        both = dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))  # torch's name
        value = {**group, **both}[field]
        default = native_dtype("cpu") if default == "auto" else default
        assert (list(value) if isinstance(value, tuple) else value) == default


def test_muon_takes_the_named_matrices_and_adamw_the_rest():
    net = model()
    routes = {r.tensor: r for r in manifest(net, build_optimizer(net, CONFIG))}
    assert {t for t, r in routes.items() if r.optimizer == "muon"} == {
        "layers.0.weight",
        "layers.1.weight",
    }
    assert routes["layers.2.weight"].weight_decay == 0.3
    assert routes["layers.2.bias"].weight_decay == 0.0
    assert {r.lr for r in routes.values()} == {0.01}


def test_adamw_groups_step_as_torchs_adamw():
    net = model()
    twin = copy.deepcopy(net)
    optimizer = build_optimizer(net, CONFIG)
    rest = [p for n, p in twin.named_parameters() if not n.endswith(("0.weight", "1.weight"))]
    reference = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.3},
            {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.01,
        betas=(0.9, 0.95),
        fused=True,
    )
    for _ in range(3):
        train(net, optimizer, [0])
        for p, q in zip(twin.parameters(), net.parameters(), strict=True):
            p.grad = q.grad
        reference.step()
    for name, p in twin.named_parameters():
        if not name.endswith(("0.weight", "1.weight")):
            assert torch.equal(p, net.get_parameter(name))


def test_the_factor_reaches_groups_that_loading_replaced():
    optimizer = build_optimizer(model(), CONFIG)
    set_lr_factor(optimizer, 0.5)
    resumed = build_optimizer(model(), CONFIG)
    resumed.load_state_dict(optimizer.state_dict())
    assert {g["lr"] for g in resumed.param_groups} == {0.005}
    set_lr_factor(resumed, 0.25)
    assert {g["lr"] for g in resumed.param_groups} == {0.0025}
    other = build_optimizer(model(), config_for("normuon"))
    with pytest.raises(ValueError, match="trained by normuon, adamw, adamw.*are by muon"):
        resumed.load_state_dict(other.state_dict())


def test_split_gives_a_component_a_group_of_its_own():
    config = CONFIG | {
        "components": ["qkv", "out"],
        "split": {"qkv": 3, "out": {"columns": 2}},
    }
    net = Attention()
    groups = {g["name"]: g["split"] for g in build_optimizer(net, config).matrix_groups}
    assert groups == {"qkv": 3, "out": {"columns": 2}}
    with pytest.raises(ValueError, match=r"optimizer.split.*query"):
        build_optimizer(net, config | {"split": {"query": 3}})


def test_muonclip_asks_the_model_for_its_logits():
    config = config_for("muonclip") | {"components": ["qkv", "out"]}
    net, plain = Attention(), Attention()
    plain.load_state_dict(net.state_dict())
    train(net, build_optimizer(net, config), [0])
    train(plain, build_optimizer(plain, config | {"name": "muon"}), [0])
    torch.testing.assert_close(net.qkv[:4], plain.qkv[:4] * 0.5)
    assert torch.equal(net.qkv[4:8], plain.qkv[4:8])
    with pytest.raises(ValueError, match="muonclip needs a model with attention"):
        build_optimizer(model(), config_for("muonclip"))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"optimizer.name: must be one of .*not 'adam'"):
        build_optimizer(model(), CONFIG | {"name": "adam"})
    with pytest.raises(ValueError, match=r"optimizer.components.*attention; it has"):
        build_optimizer(model(), CONFIG | {"components": ["attention"]})
    with pytest.raises(ValueError, match="momentum"):
        build_optimizer(model(), CONFIG | {"momentum": 2.0})


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_frozen_tensor_is_in_no_optimizer(name):
    model = MLP(inputs=4, classes=3, width=5, depth=2, activation="relu", bias=False)
    model.layers[1].weight.requires_grad_(False)
    built = build_optimizer(model, {**CONFIG, "components": ["hidden", "output"], "name": name})
    held = {id(p) for group in built.param_groups for p in group["params"]}
    assert id(model.layers[1].weight) not in held and len(held) == 2
