"""States of torch.optim.Muon and of Keller Jordan's Muon go on as they would have gone on there.

Jordan's optimizers are written down here from their description: the momentum is a mean, the update
is scaled by sqrt(max(1, out/in)), looks ahead, and takes five steps.
"""

import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn

from muonlab import Muon, newton_schulz
from muonlab.optim.muonclip import MuonClip

SHAPES = [(40, 48), (48, 40), (70, 40), (40, 48)]


def parameters(shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator) * 0.1) for s in shapes]


def copies(params):
    return [nn.Parameter(p.detach().clone()) for p in params]


def set_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator)


def steps(optimizer, params, seeds):
    for seed in seeds:
        set_gradients(params, seed)
        optimizer.step()
    return [p.detach().clone() for p in params]


def in_float32():
    """Turns off torch.optim.Muon's cast to bfloat16."""
    return patch.object(torch.Tensor, "bfloat16", lambda t: t.to(torch.float32, copy=True))


def close(found, expected, atol=2e-5):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


class JordansMuon(torch.optim.Optimizer):
    """`mean` is the present version's momentum; without it, the sum of older versions."""

    def __init__(self, params, lr=0.02, weight_decay=0.0, momentum=0.95, mean=True):
        self.mean = mean
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if group.get("use_muon", True):
                    self.move(p, group)
                else:
                    self.adam(p, group)

    def move(self, p, group):
        state, mu = self.state[p], group["momentum"]
        M = state.setdefault("momentum_buffer", torch.zeros_like(p))
        new = (1 - mu) if self.mean else 1.0
        M.mul_(mu).add_(p.grad, alpha=new)
        update = newton_schulz(new * p.grad + mu * M, dtype=torch.float32)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(update * max(1, p.size(0) / p.size(1)) ** 0.5, alpha=-group["lr"])

    def adam(self, p, group):
        state, (b1, b2) = self.state[p], group["betas"]
        state.setdefault("step", 0)
        state["step"] += 1
        m = state.setdefault("exp_avg", torch.zeros_like(p)).lerp_(p.grad, 1 - b1)
        v = state.setdefault("exp_avg_sq", torch.zeros_like(p)).lerp_(p.grad.square(), 1 - b2)
        m, v = m / (1 - b1 ** state["step"]), v / (1 - b2 ** state["step"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(m / (v.sqrt() + group["eps"]), alpha=-group["lr"])


# ---------------------------------------------------------------- settings translate


@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_torchs_muon_with_its_settings_translated_has_the_same_trajectory(adjust, nesterov):
    theirs, ours = parameters(), parameters()
    same = dict(lr=0.03, weight_decay=0.2, momentum=0.9, nesterov=nesterov, ns_steps=4)
    with in_float32():
        expected = steps(torch.optim.Muon(theirs, adjust_lr_fn=adjust, **same), theirs, range(8))
    found = steps(Muon(ours, scale=adjust or "original", dtype="float32", **same), ours, range(8))
    close(found, expected)


def test_jordans_muon_with_its_settings_translated_has_the_same_trajectory():
    theirs, ours = parameters(), parameters()
    expected = steps(JordansMuon(theirs), theirs, range(8))
    own = Muon(ours, lr=0.02, weight_decay=0.0, scale="original", dtype="float32")
    close(steps(own, ours, range(8)), expected)


def test_a_rate_for_one_scale_is_a_rate_for_another():
    """For one shape, `original` at lr is `match_rms_adamw` at lr·sqrt(max(1, out/in)) over
    0.2·sqrt(max(out, in)), with the decay divided by the same factor."""
    for shape in [(40, 40), (80, 40), (40, 80)]:
        factor = max(1, shape[0] / shape[1]) ** 0.5 / (0.2 * max(shape) ** 0.5)
        one, other = parameters([shape]), parameters([shape])
        original = Muon(one, lr=0.02, weight_decay=0.1, scale="original", dtype="float32")
        matched = Muon(other, lr=0.02 * factor, weight_decay=0.1 / factor, dtype="float32")
        close(steps(original, one, range(5)), steps(matched, other, range(5)))


# ---------------------------------------------------------------- states load


@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_a_state_of_torchs_muon_goes_on(adjust):
    theirs = parameters()
    original = torch.optim.Muon(theirs, lr=0.03, momentum=0.9, ns_steps=6, adjust_lr_fn=adjust)
    with in_float32():
        steps(original, theirs, range(3))
        ours = copies(theirs)
        own = Muon(ours, lr=1.0, dtype="float32")
        own.load_state_dict(copy.deepcopy(original.state_dict()))
        expected = steps(original, theirs, range(3, 8))
    close(steps(own, ours, range(3, 8)), expected)
    group = own.param_groups[0]
    assert (group["lr"], group["peak_lr"], group["momentum"], group["ns_steps"]) == (
        0.03,
        0.03,
        0.9,
        6,
    )
    assert group["dtype"] == torch.float32, "what torch's has no setting for stays as it is"
    again = Muon(copies(ours))
    again.load_state_dict(own.state_dict())


def test_a_state_of_jordans_muon_goes_on():
    theirs = parameters()
    original = JordansMuon(theirs, lr=0.05, momentum=0.8)
    steps(original, theirs, range(3))
    ours = copies(theirs)
    own = Muon(ours, nesterov=False, ns_steps=7, dtype="float32")
    own.load_state_dict(copy.deepcopy(original.state_dict()))
    close(steps(own, ours, range(3, 8)), steps(original, theirs, range(3, 8)))


def test_an_older_state_goes_on_with_its_buffers_times_one_minus_the_momentum():
    theirs = parameters()
    original = JordansMuon(theirs, mean=False)
    steps(original, theirs, range(3))
    ours, state = copies(theirs), copy.deepcopy(original.state_dict())
    for entry in state["state"].values():
        entry["momentum_buffer"] = entry["momentum_buffer"] * (1 - 0.95)
    own = Muon(ours, dtype="float32")
    own.load_state_dict(state)
    close(steps(own, ours, range(3, 8)), steps(original, theirs, range(3, 8)))


@pytest.mark.parametrize("by_shape", [True, False])
def test_a_state_of_jordans_muon_with_adam_goes_on(by_shape):
    """His class sorts the parameters of Muon's group by shape, largest first."""
    matrices, vectors = parameters(), parameters([(7,), (5, 6)], seed=1)
    mine = sorted(matrices, key=lambda p: p.size(), reverse=True) if by_shape else matrices
    adam = dict(lr=0.01, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.1, use_muon=False)
    muon = dict(params=mine, lr=0.03, momentum=0.9, weight_decay=0.2, use_muon=True)
    original = JordansMuon([dict(params=vectors, **adam), muon])
    everything = matrices + vectors
    steps(original, everything, range(3))
    ours = copies(everything)
    own = Muon(
        [
            {"params": ours[len(matrices) :], "optimizer": "adamw"},
            {"params": ours[: len(matrices)]},
        ],
        dtype="float32",
    )
    own.load_state_dict(copy.deepcopy(original.state_dict()))
    close(steps(own, ours, range(3, 8)), steps(original, everything, range(3, 8)))


def test_what_does_not_fit_is_refused():
    state = torch.optim.Muon(parameters()).state_dict()
    with pytest.raises(ValueError, match="the state has 1 parameter groups, this optimizer has 2"):
        Muon([{"params": [p]} for p in parameters(SHAPES[:2])]).load_state_dict(state)
    theirs = parameters()
    full = torch.optim.Muon(theirs)
    steps(full, theirs, [0])
    for shapes in (SHAPES[:2], [(3, 4)] * len(SHAPES)):
        with pytest.raises(ValueError, match="do not have the shapes"):
            Muon(parameters(shapes)).load_state_dict(full.state_dict())
    with pytest.raises(ValueError, match="are trained by muon; this optimizer's are by muonclip"):
        MuonClip(parameters()).load_state_dict(Muon(parameters()).state_dict())
