"""The direction of an update, read back from what was kept, against the optimizer's own."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.optim.muon import Muon
from muonlab.optim.newton_schulz import newton_schulz
from muonlab.optim.scale import update_scale
from muonlab.probes import direction

finite = st.floats(-3, 3).filter(lambda x: abs(x) > 1e-3)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31), finite)
@settings(max_examples=40, deadline=None)
def test_distances_from_the_polar_factor(m, n, seed, factor):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(m, n))
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    polar, r = u @ vt, min(m, n)
    found = direction.polar_metrics(torch.from_numpy(matrix))
    distance = np.linalg.norm(matrix - polar) / np.sqrt(r)
    assert found["polar_error"] == pytest.approx(distance, abs=1e-9)
    c = (matrix * polar).sum() / (matrix * matrix).sum()
    least = np.linalg.norm(c * matrix - polar) / np.sqrt(r)
    assert found["direction_error"] == pytest.approx(least, abs=1e-7)
    scaled = direction.polar_metrics(torch.from_numpy(factor * matrix))
    assert scaled["direction_error"] == pytest.approx(found["direction_error"], abs=1e-7)
    whole = direction.polar_metrics(torch.from_numpy(factor * matrix), normalise=True)
    assert whole["rms_singular_value"] == 1.0


def test_degenerate_directions():
    assert direction.polar_metrics(torch.eye(4))["polar_error"] == pytest.approx(0, abs=1e-12)
    one = torch.outer(torch.ones(3), torch.ones(5)) / math.sqrt(15)
    # One of three singular values is 1, the others are missing.
    assert direction.polar_metrics(one)["polar_error"] == pytest.approx(math.sqrt(2 / 3))
    for nothing in (torch.zeros(3, 4), torch.full((3, 4), math.nan)):
        assert all(math.isnan(x) for x in direction.polar_metrics(nothing).values())


@pytest.mark.parametrize("lr", [1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize("scale", ["match_rms_adamw", "original", "fixed_rms"])
def test_the_optimizers_own_direction_is_read_back(lr, scale):
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(48, 20))
    p.grad = torch.randn(48, 20)
    optimizer = Muon([p], lr=lr, momentum=0.9, weight_decay=0.1, scale=scale, ns_steps=5)
    before = p.detach().clone()
    optimizer.step()
    own = newton_schulz((0.1 * (1 + 0.9) * p.grad), steps=5).double()
    update = (p.detach() - before).double()
    U = direction.moved(p.detach().double(), update, lr, 0.1)
    found = U / update_scale(48, 20, scale)
    if scale == "fixed_rms":
        found, own = found / found.norm(), own / own.norm()
    noise = direction.ROUNDING * float(p.detach().norm() / (lr * U.norm()))
    assert (found - own).norm() / own.norm() < 3 * noise + 1e-5
    assert lr > 1e-4 or noise > 1e-3, "a tiny rate drowns the direction, and the record says so"


class Run(SimpleNamespace):
    def weights(self, step):
        return self.tensors

    def update(self, step):
        return self.moves


def kept_run(**training):
    default = {"schedule_steps": None, "steps": 20, "schedule": "linear", "warmup_steps": 0}
    default |= {"final_lr_fraction": 0.0, "warmup_from_zero": False}
    optimizer = {"name": "muon", "scale": "none", "split": {"query": 2}}
    config = {"training": default | training, "optimizer": optimizer}
    facts = {"kept": [10, 20], "last": 20, "components": {"w": "query", "b": "norm"}}
    return Run(config=config, tensors={}, moves={"w": torch.ones(1)}, **facts)


def test_the_last_update_that_had_a_rate():
    assert direction.last_kept(kept_run()).step == 10, "at the last, the rate is 0"
    kept = direction.last_kept(kept_run(final_lr_fraction=0.1))
    assert kept == (20, pytest.approx(0.1))
    run = kept_run(schedule_steps=1, warmup_steps=0)
    assert direction.last_kept(run) is None or direction.last_kept(run).factor > 0


def test_a_run_that_kept_weights_alone_has_no_direction():
    run = kept_run(final_lr_fraction=0.1)
    run.moves = None
    assert direction.last_kept(run) is None
    assert not list(direction.direction(run))


def test_rows_are_of_the_tensors_that_muon_has_and_of_each_block():
    run = kept_run(final_lr_fraction=0.5)
    routes = {"w": ("muon", 0.1, 0.2), "b": ("adamw", 0.1, 0.0)}
    fields = ("optimizer", "lr", "weight_decay")
    run.routes = [
        {"tensor": name} | dict(zip(fields, route, strict=True)) for name, route in routes.items()
    ]
    O = torch.cat([torch.eye(3, 5), 2 * torch.eye(3, 5)])  # noqa: E741
    before, lr = torch.randn(6, 5), 0.05
    update = -lr * (O + 0.2 * before)
    run.tensors, run.moves = {"w": before + update}, {"w": update}
    rows = pd.DataFrame(direction.direction(run))
    assert set(rows.tensor) == {"w"} and set(rows.matrix) == {0, 1}
    sizes = rows[rows.metric == "rms_singular_value"].set_index("matrix").value
    assert sizes.to_list() == pytest.approx([1.0, 2.0], rel=1e-4)
    errors = rows[rows.metric == "direction_error"].value
    assert (errors < 1e-4).all()
    run.config["optimizer"]["name"] = "normuon"
    assert not list(direction.direction(run)), "it transforms its updates after the iteration"
