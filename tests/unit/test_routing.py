"""Every trained tensor has one optimizer, moves, and is written down."""

import pytest
import torch
from torch import nn

from muonlab.optim.muon import Muon
from muonlab.optim.routing import MovementCheck, as_records, manifest, wants_muon


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(9, 4))
        self.hidden = nn.Parameter(torch.randn(4, 4))
        self.experts = nn.Parameter(torch.randn(2, 4, 4))
        self.norm = nn.Parameter(torch.ones(4))
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def components(self):
        return {name: name for name, _ in self.named_parameters()}


def optimizer(model):
    rest = [model.embedding, model.norm]
    return Muon(
        [
            {"params": [model.hidden, model.experts], "name": "matrices", "lr": 0.5},
            {"params": rest, "name": "rest", "optimizer": "adamw", "weight_decay": 0.2},
        ],
        lr=0.1,
    )


def test_manifest_is_read_back_from_the_optimizer():
    model = Model()
    own = optimizer(model)
    for group in own.param_groups:
        group["lr"] *= 0.5  # a schedule; the manifest has the peak rate
    records = {r["tensor"]: r for r in as_records(manifest(model, own))}
    assert set(records) == {"embedding", "hidden", "experts", "norm"}
    assert records["experts"] == dict(
        tensor="experts",
        shape="2x4x4",
        component="experts",
        optimizer="muon",
        group="matrices",
        lr=0.5,
        weight_decay=0.1,
    )
    assert (records["norm"]["optimizer"], records["norm"]["weight_decay"]) == ("adamw", 0.2)
    assert records["norm"]["lr"] == 0.1


def test_a_tensor_without_or_with_two_groups_is_named():
    model = Model()
    own = optimizer(model)
    group = own.param_groups[1]
    group["params"] = [model.embedding]
    with pytest.raises(ValueError, match="norm has no optimizer"):
        manifest(model, own)
    group["params"] = [model.embedding, model.norm, model.hidden]
    with pytest.raises(ValueError, match="hidden has 2 optimizer groups"):
        manifest(model, own)


def test_only_matrices_of_the_named_components_are_wanted():
    assert wants_muon(torch.ones(3, 3), "hidden", ["hidden"])
    assert wants_muon(torch.ones(2, 3, 3), "hidden", ["hidden"])
    assert not wants_muon(torch.ones(3, 3), "output", ["hidden"])
    assert not wants_muon(torch.ones(3), "hidden", ["hidden"])


def test_movement_check_names_what_stands_still_and_forgives_what_got_no_gradient():
    model = Model()
    check = MovementCheck(model)
    model.hidden.grad = torch.ones(4, 4)
    model.norm.grad = torch.ones(4)
    model.embedding.grad = torch.zeros(9, 4)
    check.observe(model)
    model.hidden.data.add_(1)
    with pytest.raises(RuntimeError, match=r"routing: norm got a gradient"):
        check.verify(model)
    model.norm.data.add_(1)
    check.verify(model)
