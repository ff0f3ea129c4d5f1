"""The geometry of a run while it trains: numbers against numpy, records across a resume."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from muonlab.hooks import WatchedUpdate, copy_of
from muonlab.models.mlp import MLP
from muonlab.observers.geometry import COLUMNS, GeometryMonitor, write_geometry

torch.set_num_threads(1)


def a_model(seed=0, width=7, bias=True):
    model = MLP(inputs=20, classes=4, width=width, depth=2, bias=bias, activation="relu")
    model.initialise(seed, "init")
    return model


def take_steps(model, monitor, steps, start=0, seed=0):
    """Plain gradient steps on noise, observed as the training loop does it."""
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(1000 * seed + step)
        loss = model(torch.randn(8, 20, generator=generator)).square().mean()
        model.zero_grad()
        loss.backward()
        update = WatchedUpdate(step, 1.0, model, before=copy_of(model))
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        update.after = copy_of(model)
        if monitor.due(step):
            monitor.after_update(update)


def table_of(monitor):
    table = pd.DataFrame(list(monitor.rows()), columns=list(COLUMNS)).set_index(
        ["step", "tensor", "object", "metric"]
    )
    return table["value"].sort_index()


@pytest.fixture(scope="module")
def observed():
    """A run of 7 steps recorded at 0, 3 and 6 and at its end, and its weights at each step."""
    model, weights = a_model(), []
    monitor = GeometryMonitor(model, every=3)
    for step in range(7):
        weights.append({k: v.double().numpy() for k, v in copy_of(model).items()})
        take_steps(model, monitor, step + 1, start=step)
    weights.append({k: v.double().numpy() for k, v in copy_of(model).items()})
    monitor.finish(SimpleNamespace(step=7, model=model, stopped_at=None))
    return table_of(monitor), weights


def spectrum(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


def entropy(matrix):
    p = spectrum(matrix) ** 2 / (spectrum(matrix) ** 2).sum()
    some = p[p > 0]  # a unit that is dead has given its matrix a singular value of 0
    return float(-(some * np.log(some)).sum() / np.log(len(p)))


def alignment(a, b, k=5):
    """Mean cosine of the principal angles of the top-k left and right subspaces."""
    (u_a, _, v_a), (u_b, _, v_b) = (np.linalg.svd(m, full_matrices=False) for m in (a, b))
    left = spectrum(u_a[:, :k].T @ u_b[:, :k]).mean()
    return left, spectrum(v_a[:k] @ v_b[:k].T).mean()


@pytest.mark.parametrize("tensor", ["layers.0.weight", "layers.1.weight", "layers.2.weight"])
@pytest.mark.parametrize("step", [3, 6])
def test_every_object_agrees_with_numpy(observed, tensor, step):
    values, weights = observed
    now = weights[step][tensor]
    objects = {
        "weight": now,
        "step": weights[step + 1][tensor] - now,
        "displacement": now - weights[step - 3][tensor],
        "from_start": now - weights[0][tensor],
    }
    for name, matrix in objects.items():
        own = values[step, tensor, name]
        assert own["spectral_norm"] == pytest.approx(spectrum(matrix)[0], rel=1e-9)
        assert own["frobenius_norm"] == pytest.approx(np.linalg.norm(matrix), rel=1e-9)
        assert own["spectral_entropy"] == pytest.approx(entropy(matrix), rel=1e-6)
        if name != "weight":
            size = np.linalg.norm(matrix)
            assert own["relative_update"] == pytest.approx(size / np.linalg.norm(now), rel=1e-9)
            assert own["update_rms"] == pytest.approx(size / math.sqrt(matrix.size), rel=1e-9)


@pytest.mark.parametrize("tensor", ["layers.0.weight", "layers.1.weight"])
def test_alignment_and_drift_agree_with_numpy(observed, tensor):
    values, weights = observed
    now = weights[6][tensor]
    own = values[6, tensor]
    for name, other in (("drift", weights[3][tensor]), ("drift_from_start", weights[0][tensor])):
        left, right = alignment(now, other)
        assert own["weight", f"{name}_left"] == pytest.approx(left, rel=1e-6)
        assert own["weight", f"{name}_right"] == pytest.approx(right, rel=1e-6)
    left, right = alignment(now, now - weights[0][tensor])
    assert own["from_start", "subspace_alignment_left"] == pytest.approx(left, rel=1e-6)
    assert own["from_start", "subspace_alignment_right"] == pytest.approx(right, rel=1e-6)


def test_a_gradient_step_points_against_its_own_gradient(observed):
    values, _ = observed
    cosines = values.xs("update_gradient_cosine", level="metric")
    # The weights are float32: their difference is the step up to its rounding.
    assert cosines.to_numpy() == pytest.approx(-1.0, abs=1e-4)
    assert "all" in cosines.index.get_level_values("tensor")


def test_the_start_has_no_displacement_and_the_end_no_step(observed):
    objects = observed[0].reset_index().groupby("step").object.agg(set)
    assert objects[0] == {"weight", "step"}
    assert objects[6] == {"weight", "step", "displacement", "from_start"}
    assert objects[7] == {"weight", "displacement", "from_start"}


def test_whole_model_size_counts_biases_too(observed):
    values, weights = observed
    change = [weights[4][name] - weights[3][name] for name in weights[3]]
    norm = math.sqrt(sum((c**2).sum() for c in change))
    assert values[3, "all", "step", "frobenius_norm"] == pytest.approx(norm, rel=1e-9)
    before = math.sqrt(sum((w**2).sum() for w in weights[3].values()))
    found = values[3, "all", "step", "relative_update"]
    assert found == pytest.approx(norm / before, rel=1e-9)


def test_a_resumed_monitor_goes_on_bit_by_bit(tmp_path):
    whole_model, model = a_model(), a_model()
    whole = GeometryMonitor(whole_model, every=2)
    take_steps(whole_model, whole, 9)
    first = GeometryMonitor(model, every=2)
    take_steps(model, first, 5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = GeometryMonitor(a_model(), every=2)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    take_steps(model, second, 9, start=5)
    assert json.dumps(list(second.rows())) == json.dumps(list(whole.rows()))


def test_a_resume_before_the_first_record():
    model = a_model()
    monitor = GeometryMonitor(model, every=2)
    monitor.load_state_dict(GeometryMonitor(model, every=2).state_dict())
    assert list(monitor.rows()) == []


def test_a_run_that_diverged_has_no_last_record():
    model = a_model()
    monitor = GeometryMonitor(model, every=2)
    take_steps(model, monitor, 3)
    monitor.finish(SimpleNamespace(step=3, model=model, stopped_at=2))
    assert {row[0] for row in monitor.rows()} == {0, 2}


def test_diverged_weights_are_a_record_and_not_a_crash():
    model = a_model(bias=False)
    monitor = GeometryMonitor(model, every=1)
    before, broken = copy_of(model), copy_of(model)
    broken["layers.1.weight"][0, 0] = math.nan
    monitor.record(0, before, broken, before)
    values = table_of(monitor)
    assert math.isnan(values[0, "layers.1.weight", "step", "spectral_norm"])
    assert math.isfinite(values[0, "layers.1.weight", "weight", "spectral_norm"])
    assert values[0, "layers.0.weight", "step", "spectral_norm"] == 0


def test_the_file_has_the_same_bytes_for_the_same_rows(observed, tmp_path):
    model = a_model()
    monitor = GeometryMonitor(model, every=1)
    take_steps(model, monitor, 2)
    write_geometry(tmp_path / "a.parquet", monitor.rows())
    write_geometry(tmp_path / "b.parquet", monitor.rows())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert list(back) == list(COLUMNS)
    assert list(back.value) == [row[-1] for row in monitor.rows()]


def test_no_rows_give_an_empty_table(tmp_path):
    write_geometry(tmp_path / "empty.parquet", [])
    table = pd.read_parquet(tmp_path / "empty.parquet")
    assert len(table) == 0 and list(table) == list(COLUMNS)
