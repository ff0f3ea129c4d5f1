"""The component monitor: its rows against the run it watched, across resumes and divergence."""

import json
import math

import pandas as pd
import pytest
import torch
from torch import nn

from muonlab.hooks import WatchedUpdate
from muonlab.io import columns
from muonlab.models.mlp import MLP
from muonlab.observers.components import COLUMNS, FORWARD, ComponentMonitor, write_components

torch.set_num_threads(1)


class Blocks(nn.Module):
    """Two layers with an embedding, a frozen tensor and one that never gets a gradient."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {"embedding": (6, 4), "up_0": (4, 4), "down_0": (4, 4), "up_1": (4, 4)}
        shapes |= {"down_1": (4, 4), "frozen": (2,), "unused": (3, 1)}
        for name, shape in shapes.items():
            value = torch.randn(shape, generator=generator)
            self.register_parameter(name, nn.Parameter(value, requires_grad=name != "frozen"))

    def forward(self, x):
        x = self.embedding[x]
        for layer in "01":
            up, down = (self.get_parameter(f"{part}_{layer}") for part in ("up", "down"))
            x = x + torch.tanh(x @ up) @ down
        return x

    def components(self):
        return {name: name.split("_")[0] for name, _ in self.named_parameters()}

    def layer_of(self):
        return {
            name: int(name[-1]) if name[-1].isdigit() else None
            for name, _ in self.named_parameters()
        }


def take_steps(model, monitor, steps, start=0, clip=0.1):
    """Clipped gradient steps on noise, watched as the training loop does it."""
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(step)
        loss = model(torch.randint(6, (8,), generator=generator)).square().mean()
        model.zero_grad()
        loss.backward()
        if monitor.due(step):
            monitor.before_update()
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad if p.grad is not None else 0
        if monitor.due(step):
            seen = {
                "residual_rms": {0: loss.detach(), 1: 2 * loss},
                "expert_load": {1: torch.tensor([1, 2, step])},
            }
            monitor.record(step, seen, {"lr": 0.1 * step, "gradient_norm_before_clipping": norm})


def values_of(monitor):
    return {tuple(row[:-1]): row[-1] for row in monitor.rows()}


def weights_of(model):
    return {name: p.detach().double().clone() for name, p in model.named_parameters()}


def test_norms_are_those_of_the_weights_and_of_the_step():
    model = Blocks()
    monitor = ComponentMonitor(model, every=3)
    take_steps(model, monitor, 3)
    before = weights_of(model)
    take_steps(model, monitor, 4, start=3)
    after, values = weights_of(model), values_of(monitor)

    up = torch.cat([before["up_0"], before["up_1"]])
    step = torch.cat([after["up_0"], after["up_1"]]) - up
    own = {
        metric: v for (t, c, la, _, metric), v in values.items() if (t, c, la) == (3, "up", None)
    }
    assert own["weight_norm"] == pytest.approx(up.norm().item(), rel=1e-9)
    assert own["update_norm"] == pytest.approx(step.norm().item(), rel=1e-5)
    assert own["relative_update"] == pytest.approx((step.norm() / up.norm()).item(), rel=1e-5)
    step = (after["down_1"] - before["down_1"]).norm().item()
    assert values[3, "down", 1, None, "update_norm"] == pytest.approx(step, rel=1e-5)
    assert values[3, "unused", None, None, "update_norm"] == 0


def test_gradients_are_measured_before_clipping():
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1, clip=1e-3)
    values = values_of(monitor)
    norm = values[0, "all", None, None, "gradient_norm"]
    assert norm > 0.01
    given = values[0, "all", None, None, "gradient_norm_before_clipping"]
    assert norm == pytest.approx(given, rel=1e-6)
    flow = values[0, "all", 0, None, "gradient_norm"] / values[0, "all", 1, None, "gradient_norm"]
    assert values[0, "all", None, None, "gradient_flow_ratio"] == pytest.approx(flow)


def test_a_tensor_without_gradient_is_flagged_and_a_frozen_one_left_out():
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1)
    values = values_of(monitor)
    assert values[0, "unused", None, None, "gradient_norm"] == 0
    assert values[0, "unused", None, None, "vanishing_gradient"] == 1
    assert not [key for key in values if key[1] == "frozen"]


def test_what_the_forward_pass_showed_has_a_row_for_each_layer_and_expert():
    model = Blocks()
    monitor = ComponentMonitor(model, every=2)
    take_steps(model, monitor, 5)
    values = values_of(monitor)
    loads = [values[4, FORWARD, 1, expert, "expert_load"] for expert in range(3)]
    assert loads == [1, 2, 4]
    rms = [values[2, FORWARD, layer, None, "residual_rms"] for layer in (0, 1)]
    assert rms[1] == 2 * rms[0] > 0
    assert values[4, "all", None, None, "lr"] == pytest.approx(0.4, rel=1e-15)
    assert {key[0] for key in values} == {0, 2, 4}


def test_the_training_loop_has_an_update_recorded_by_the_hooks():
    model = Blocks()
    monitor, plain = ComponentMonitor(model, every=1), ComponentMonitor(model, every=1)
    model(torch.arange(6)).square().mean().backward()
    update = WatchedUpdate(0, 0.5, model, {"residual_rms": {0: torch.tensor(3.0)}})
    monitor.before_clipping(update)
    plain.before_update()
    monitor.after_update(update)
    plain.record(0, update.forward, {"lr_factor": 0.5})
    assert json.dumps(list(monitor.rows())) == json.dumps(list(plain.rows()))
    assert values_of(monitor)[0, "all", None, None, "lr_factor"] == 0.5


def test_records_may_differ_in_what_they_hold():
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1)
    monitor.before_update()
    monitor.record(1)
    values = values_of(monitor)
    assert (0, FORWARD, 0, None, "residual_rms") in values
    assert not [key for key in values if key[0] == 1 and key[1] == FORWARD]
    assert values[1, "all", None, None, "update_norm"] == 0


def test_diverged_tensors_are_counted_and_not_a_crash():
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1)
    model.up_0.grad[0, :3] = math.nan
    model.down_1.grad[2, 2] = math.inf
    with torch.no_grad():
        model.embedding[1, 1] = -math.inf
    monitor.before_update()
    monitor.record(1)
    values = values_of(monitor)
    assert values[0, "all", None, None, "gradient_nan"] == 0
    assert values[1, "all", None, None, "gradient_nan"] == 3
    assert values[1, "up", 0, None, "gradient_nan"] == 3
    assert values[1, "down", None, None, "gradient_inf"] == 1
    assert values[1, "embedding", None, None, "weight_inf"] == 1
    assert values[1, "down", 1, None, "exploding_gradient"] == 1
    assert math.isfinite(values[1, "up", 1, None, "gradient_norm"])


def test_a_resumed_monitor_goes_on_bit_by_bit(tmp_path):
    whole_model, model = Blocks(), Blocks()
    whole, first = (ComponentMonitor(m, every=2) for m in (whole_model, model))
    take_steps(whole_model, whole, 9)
    take_steps(model, first, 5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = ComponentMonitor(model, every=2)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    take_steps(model, second, 9, start=5)
    assert json.dumps(list(second.rows())) == json.dumps(list(whole.rows()))


def test_a_resume_keeps_the_counts_and_works_before_the_first_record(tmp_path):
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1)
    model.up_0.grad[:] = math.nan
    monitor.before_update()
    monitor.record(1)
    for state in (monitor.state_dict(), ComponentMonitor(model, every=1).state_dict()):
        torch.save(state, tmp_path / "state.pt")
        other = ComponentMonitor(model, every=1)
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        rows = {tuple(row[:-1]): row[-1] for row in other.rows()}
        assert rows.get((1, "up", 0, None, "gradient_nan"), 0) == (16 if state["records"] else 0)


def test_calls_out_of_order_are_refused():
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    with pytest.raises(ValueError, match="after backward"):
        monitor.before_update()
    with pytest.raises(ValueError, match="before_update was not called at step 0"):
        monitor.record(0)
    take_steps(model, monitor, 1)
    with pytest.raises(ValueError, match="before_update was not called at step 1"):
        monitor.record(1)


def test_a_model_without_layers_is_watched_by_component():
    model = MLP(inputs=5, classes=3, width=4, depth=2, bias=True, activation="relu")
    model.initialise(0, "init")
    model(torch.ones(2, 5)).sum().backward()
    monitor = ComponentMonitor(model, every=1)
    monitor.before_update()
    monitor.record(0)
    rows = list(monitor.rows())
    assert {row[1] for row in rows} == {"all", "input", "hidden", "output", "bias"}
    assert {row[2] for row in rows} == {None}


def test_watching_changes_neither_gradients_nor_weights():
    watched, alone = Blocks(), Blocks()
    take_steps(watched, ComponentMonitor(watched, every=1), 4)
    take_steps(alone, ComponentMonitor(alone, every=100), 4)
    for one, other in zip(watched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_bfloat16_weights_are_watched():
    model = Blocks().bfloat16()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 1)
    values = values_of(monitor)
    norm = model.unused.detach().double().norm().item()
    assert values[0, "unused", None, None, "weight_norm"] == pytest.approx(norm, rel=1e-12)


def test_the_file_has_the_same_bytes_for_the_same_rows(tmp_path, monkeypatch):
    model = Blocks()
    monitor = ComponentMonitor(model, every=1)
    take_steps(model, monitor, 3)
    rows = list(monitor.rows())
    write_components(tmp_path / "a.parquet", monitor.rows())
    write_components(tmp_path / "b.parquet", rows)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    monkeypatch.setattr(columns, "BATCH", 7)  # a table larger than what is in memory at a time
    write_components(tmp_path / "batches.parquet", rows)
    for name in ("a", "batches"):
        back = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert list(back) == list(COLUMNS)
        assert list(back.value) == [row[-1] for row in rows]
        assert [None if pd.isna(x) else x for x in back["index"]] == [row[3] for row in rows]
        assert list(back.component) == [row[1] for row in rows]


def test_no_rows_give_an_empty_table(tmp_path):
    write_components(tmp_path / "empty.parquet", [])
    table = pd.read_parquet(tmp_path / "empty.parquet")
    assert len(table) == 0 and list(table) == list(COLUMNS)
