"""Records of a transformer's layers while it trains: experts, momentum, gradients, resume, size."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from observed_layers import EVERY, a_transformer, observed, records, take_step

from muonlab.hooks import copy_of
from muonlab.models.size import parameter_count
from muonlab.models.transformer import Transformer
from muonlab.observers.geometry import COLUMNS, GeometryMonitor
from muonlab.observers.gradients import QUANTILES, GradientMonitor, quantiles
from muonlab.observers.momentum import momentum_of
from muonlab.optim.factory import build_optimizer
from muonlab.plan.runs import load_plan

torch.set_num_threads(1)


def table_of(monitor):
    return pd.DataFrame(list(monitor.rows()), columns=list(COLUMNS))


@pytest.fixture(scope="module")
def with_experts():
    """A run of experts, recorded at 0 and 1 and at the end, and its weights."""
    model, weights = a_transformer(experts=3, layers=2), []
    momentum = {}
    monitor = GeometryMonitor(model, 1, lambda step: 7 * step, lambda: momentum)
    for step in range(2):
        weights.append({k: v.double().numpy() for k, v in copy_of(model).items()})
        made = take_step(model, "adamw", step, 0)
        next(made)
        momentum.update({name: p.grad.clone() for name, p in model.named_parameters()})
        monitor.after_update(next(made))
    weights.append({k: v.double().numpy() for k, v in copy_of(model).items()})
    monitor.last(2, copy_of(model))
    kept = {name: tensor.double().numpy() for name, tensor in momentum.items()}
    return table_of(monitor), weights, kept


def norm(table, tensor, kind, step, expert=None):
    own = table[(table.tensor == tensor) & (table.object == kind) & (table.step == step)]
    own = own[own.expert.isna() if expert is None else own.expert == expert]
    (value,) = own[own.metric == "spectral_norm"].value
    return value


def test_every_expert_is_a_matrix_of_its_own(with_experts):
    table, weights, momentum = with_experts
    tensor = "layers.1.experts.up"
    assert sorted(table[table.tensor == tensor].expert.dropna().unique()) == [0, 1, 2]
    for expert in range(3):
        expected = np.linalg.norm(weights[1][tensor][expert], 2)
        assert norm(table, tensor, "weight", 1, expert) == pytest.approx(expected, rel=1e-9)
        moved = weights[2][tensor][expert] - weights[1][tensor][expert]
        found = norm(table, tensor, "step", 1, expert)
        assert found == pytest.approx(np.linalg.norm(moved, 2), rel=1e-6, abs=1e-12)
        expected = np.linalg.norm(momentum[tensor][expert], 2)
        found = norm(table, tensor, "momentum", 1, expert)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_rows_say_layer_component_shape_and_tokens(with_experts):
    table, _, _ = with_experts
    own = table[table.tensor == "layers.1.experts.down"]
    assert set(own.layer) == {1} and set(own.component) == {"expert_down"}
    assert set(own["rows"]) == {12} and set(own["columns"]) == {16}
    assert (table.tokens == 7 * table.step).all()
    assert table[table.tensor == "embedding"].layer.isna().all()
    assert set(table[table.component == "key"]["rows"]) == {6}, "one key head for two of queries"


def test_whole_spectra_are_recorded_at_the_start_and_at_the_end(with_experts):
    table, weights, _ = with_experts
    spectra = table[table.metric == "singular_values"]
    assert set(spectra.step) == {0, 2}
    own = spectra[(spectra.tensor == "layers.0.attention.value") & (spectra.step == 2)]
    exact = np.linalg.svd(weights[2]["layers.0.attention.value"], compute_uv=False)
    assert own.sort_values("index").value.to_numpy() == pytest.approx(exact, abs=1e-7)


def test_momentum_is_that_of_the_optimizers_and_both_arms_pay_alike():
    counts = {}
    for name in ("muon", "adamw"):
        model = a_transformer(layers=1)
        config = {"name": name, "lr": 0.01, "components": ["query", "key", "up", "down"]}
        optimizer = build_optimizer(model, config | ({"adamw": {}} if name == "muon" else {}))
        assert momentum_of(model, [optimizer]) == {}, "none before an update"
        monitor = GeometryMonitor(
            model, 1, momentum=lambda m=model, o=optimizer: momentum_of(m, [o])
        )
        made = take_step(model, "adamw", 0, 0)
        update = next(made)
        optimizer.step()
        update.after = copy_of(model)
        monitor.after_update(update)
        counts[name] = table_of(monitor)[["tensor", "object", "metric"]]
        found = momentum_of(model, [optimizer])
        assert set(found) == {n for n, _ in model.named_parameters()}
        for tensor, moment in found.items():
            grad = dict(model.named_parameters())[tensor].grad
            assert torch.nn.functional.cosine_similarity(
                moment.flatten(), grad.flatten(), dim=0
            ) == pytest.approx(1.0, abs=1e-4), "after one update it points along the gradient"
    pd.testing.assert_frame_equal(counts["muon"], counts["adamw"])


def test_a_frozen_tensor_has_no_rows_about_momentum():
    model = a_transformer(layers=1)
    only = {"layers.0.feedforward.up": torch.ones(16, 12)}
    monitor = GeometryMonitor(model, 1, momentum=lambda: only)
    made = take_step(model, "adamw", 0, 0)
    next(made)
    monitor.after_update(next(made))
    table = table_of(monitor)
    assert set(table[table.object == "momentum"].tensor) == set(only)


def test_a_resumed_observer_goes_on_bit_by_bit(tmp_path):
    def watch(model, monitor, kept, start, end):
        for step in range(start, end):
            made = take_step(model, "muon", step, 0)
            update = next(made)
            kept.before_clipping(update)
            monitor.after_update(next(made))

    def observers(model):
        momentum = {name: p.detach() for name, p in model.named_parameters()}
        monitor = GeometryMonitor(model, 1, momentum=lambda: momentum)
        return monitor, GradientMonitor(model, 1)

    whole = a_transformer(experts=2)
    all_along = observers(whole)
    watch(whole, *all_along, 0, 4)
    model = a_transformer(experts=2)
    first = observers(model)
    watch(model, *first, 0, 2)
    torch.save([one.state_dict() for one in first], tmp_path / "state.pt")
    start = a_transformer(experts=2)
    second = observers(start)
    for one, state in zip(
        second, torch.load(tmp_path / "state.pt", weights_only=True), strict=True
    ):
        one.load_state_dict(state)
    start.load_state_dict(model.state_dict())
    watch(start, *second, 2, 4)
    for one, other in zip(second, all_along, strict=True):
        assert json.dumps(list(one.rows())) == json.dumps(list(other.rows()))
    assert second[0].cost.seconds > first[0].cost.seconds, "seconds add up over attempts"


def test_quantiles_of_gradients_are_numpys():
    p, q = (torch.nn.Parameter(torch.zeros(30, 40)) for _ in range(2))
    p.grad = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    expected = np.quantile(np.abs(p.grad.double().numpy()), QUANTILES)
    assert quantiles([p]).numpy() == pytest.approx(expected, rel=1e-12)
    both = np.concatenate([np.abs(p.grad.double().numpy()).ravel(), np.zeros(1200)])
    assert quantiles([p, q]).numpy() == pytest.approx(np.quantile(both, QUANTILES))
    big = torch.nn.Parameter(torch.zeros(400, 400))
    big.grad = torch.arange(160_000.0).reshape(400, 400)
    assert quantiles([big])[3].item() == pytest.approx(80_000, rel=1e-3), "every n-th entry"


def test_gradients_are_recorded_by_component_and_layer():
    _, _, gradients = records()
    own = gradients[(gradients.arm == "muon") & (gradients.seed == 1)]
    assert set(own.step) == {0, EVERY, 2 * EVERY}
    assert set(own[own.component == "embedding"].layer.isna()) == {True}
    assert sorted(own[own.component == "up"].layer.unique()) == [0, 1, 2]
    assert set(own["quantile"]) == set(QUANTILES)


def test_records_do_not_change_the_run():
    rows = [observed("adamw", 3, steps=4)[0] for _ in range(2)]
    assert json.dumps(rows[0]) == json.dumps(rows[1])
    model, plain = a_transformer(3), a_transformer(3)
    monitor = GeometryMonitor(model, 1)
    for step in range(3):
        for each in (model, plain):
            made = take_step(each, "adamw", step, 3)
            next(made)
            update = next(made)
            if each is model:
                monitor.after_update(update)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_published_model_has_88_6_million_parameters():
    arms = load_plan(["config.yaml", "studies/dynamics.yaml"]).studies["dynamics"].arms
    settings = {k: v for k, v in arms["muon"].settings["model"].items() if k != "name"}
    with torch.device("meta"):
        model = Transformer(vocab=49152, **settings)
    assert parameter_count(model) == 88_630_528
    assert model.components()["layers.21.attention.key_norm"] == "norm"
    assert model.layers[0].attention.key.shape == (256, 512), "four of eight heads"


def test_each_overlay_of_the_published_study_is_one_of_its_runs():
    whole = load_plan(["config.yaml", "studies/dynamics.yaml"]).studies["dynamics"]
    chosen = {"lr": 0.001, "embedding_ratio": 2.0}
    asked = {}
    for file in sorted(Path("studies/dynamics").glob("*.yaml")):
        study = load_plan(["config.yaml", "studies/dynamics.yaml", file]).studies["dynamics"]
        (arm,) = study.arms
        (run,) = study.reporting_runs(arm, chosen)
        assert file.stem == f"{arm}_seed_{run.seed}"
        assert run.config in [own.config for own in whole.reporting_runs(arm, chosen)]
        trials = [trial.settings for trial in study.arms[arm].trials]
        assert trials == [trial.settings for trial in whole.arms[arm].trials]
        asked[arm, run.seed] = run.name
    assert set(asked) == {(arm, s) for arm in ("adamw", "muon") for s in (42, 137, 256)}
