"""Norms by component and layer against naive float64 loops, and what they say of broken tensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.measure.component_sizes import (
    Group,
    Sizes,
    component_metrics,
    gradient_flow,
    group_norms,
    groups_of,
    nonfinite_counts,
    tensor_norms,
)

shapes = st.lists(st.integers(1, 7), min_size=1, max_size=3)


def naive_norm(tensor):
    return math.sqrt(math.fsum(float(x) ** 2 for x in tensor.flatten()))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(shapes, min_size=1, max_size=5),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 2**31),
)
def test_norms_agree_with_a_loop_in_every_type(several, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(*shape, generator=generator).to(dtype) for shape in several]
    found = tensor_norms(tensors)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([naive_norm(t) for t in tensors], rel=1e-12)


def test_norms_of_many_equal_values_do_not_drift():
    # A float32 sum of these squares is a percent too small.
    value = torch.tensor(0.1).item()
    norm = tensor_norms([torch.full((1500, 10_000), 0.1)])
    assert norm.item() == pytest.approx(value * math.sqrt(1.5e7), rel=1e-9)


def test_a_large_tensor_is_measured_whole_in_whatever_layout():
    # 1.05 million values: several pieces on the host, the last of them short.
    tensor = torch.randn(1050, 1000, generator=torch.Generator().manual_seed(0))
    norm = tensor.double().square().sum().sqrt().item()
    found = tensor_norms([tensor[:3, :3], tensor, None, tensor.mT]).tolist()
    corner = naive_norm(tensor[:3, :3])
    assert found == pytest.approx([corner, norm, 0, norm], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [3e38, 1e30, 1e-30, 1e-38])
def test_squares_neither_overflow_nor_vanish(dtype, size):
    tensor = torch.full((4, 4), size, dtype=dtype)
    assert tensor_norms([tensor]).item() == pytest.approx(4 * tensor[0, 0].item(), rel=1e-9)


def test_missing_empty_zero_and_one_row_tensors():
    found = tensor_norms([None, torch.empty(0, 3), torch.zeros(2, 2), torch.tensor([[3.0, -4.0]])])
    assert found.tolist() == [0, 0, 0, 5]
    with pytest.raises(ValueError, match="no tensor"):
        tensor_norms([None])
    with pytest.raises(ValueError, match="no tensor"):
        nonfinite_counts([])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_is_finite_exactly_where_all_values_are(dtype):
    tensors = [torch.ones(5, 5, dtype=dtype) for _ in range(4)]
    tensors[1][0, 1] = math.nan
    tensors[2][:2, 3] = -math.inf
    tensors[3][1, 1], tensors[3][2, 2] = math.nan, math.inf
    assert tensor_norms(tensors).isfinite().tolist() == [True, False, False, False]
    assert nonfinite_counts([None, *tensors]).tolist() == [[0, 0], [0, 0], [1, 0], [0, 2], [1, 1]]


NAMES = ["embedding", "0.query", "0.up", "0.norm", "2.query", "2.up", "2.norm", "norm"]
COMPONENTS = {name: name.split(".")[-1] for name in NAMES}
LAYERS = {name: int(name[0]) for name in NAMES if name[0].isdigit()} | {"embedding": None}


def test_groups_are_the_model_its_layers_its_components_and_their_crossings():
    groups = groups_of(NAMES, COMPONENTS, LAYERS)
    members = {tuple(group): [NAMES[i] for i in own] for group, own in groups.items()}
    assert next(iter(members)) == ("all", None)
    assert members["all", None] == NAMES
    assert members["all", 2] == ["2.query", "2.up", "2.norm"]
    assert members["query", None] == ["0.query", "2.query"]
    assert members["query", 2] == ["2.query"]
    assert members["norm", None] == ["0.norm", "2.norm", "norm"]
    assert members["embedding", None] == ["embedding"]
    assert ("embedding", 0) not in members and ("all", 1) not in members
    assert len(members) == 3 + 1 + 3 * 3


def test_groups_of_a_model_without_layers():
    groups = groups_of(["a", "b"], {"a": "input", "b": "output"}, {})
    assert groups == {("all", None): [0, 1], ("input", None): [0], ("output", None): [1]}


@pytest.mark.parametrize("components", [{}, {"a": "all"}])
def test_a_tensor_without_a_component_is_refused(components):
    with pytest.raises(ValueError, match="'a' needs a component"):
        groups_of(["a"], components, {})


def test_a_group_is_as_if_its_tensors_were_one_vector():
    tensors = [torch.randn(3, i + 1, dtype=torch.float64) for i in range(len(NAMES))]
    groups = groups_of(NAMES, COMPONENTS, LAYERS)
    found = group_norms(tensor_norms(tensors).numpy(), groups)
    for group, own in groups.items():
        together = torch.cat([tensors[i].flatten() for i in own])
        assert found[group] == pytest.approx(naive_norm(together), rel=1e-12)


def test_gradient_flow_is_first_over_last_layer():
    norms = {
        Group("all", None): 9.0,
        Group("all", 0): 6.0,
        Group("all", 5): 2.0,
        Group("all", 11): 3.0,
        Group("up", None): 1.0,
        Group("up", 5): 1.0,
        Group("down", 0): 2.0,
        Group("down", 1): 0.0,
        Group("key", 0): 0.0,
        Group("key", 1): 0.0,
    }
    flow = gradient_flow(norms)
    assert flow[Group("all", None)] == 2.0  # layer 11 is the last one, not layer 5
    assert Group("up", None) not in flow
    assert flow[Group("down", None)] == math.inf
    assert math.isnan(flow[Group("key", None)])


def metrics_of(gradient, weight=None, update=None, nonfinite=None):
    """By (component, layer, metric), of tensors a (layer 0), b (layer 1), c (no layer)."""
    ones = [1.0, 1.0, 1.0]
    sizes = Sizes(*(np.array(x or ones) for x in (gradient, weight, update)), nonfinite)
    if nonfinite is None:
        sizes = sizes._replace(nonfinite=np.zeros((3, 4)))
    groups = groups_of(["a", "b", "c"], {"a": "up", "b": "up", "c": "head"}, {"a": 0, "b": 1})
    return {(*group, metric): value for group, metric, value in component_metrics(sizes, groups)}


def test_relative_update_is_of_the_group_and_not_a_mean_of_ratios():
    found = metrics_of([1.0, 2.0, 2.0], [3.0, 4.0, 12.0], [0.3, 0.4, 0.0])
    assert found["up", None, "relative_update"] == pytest.approx(0.5 / 5)
    assert found["all", None, "relative_update"] == pytest.approx(0.5 / 13)
    assert found["head", None, "relative_update"] == 0
    assert found["all", None, "gradient_norm"] == 3
    assert found["up", None, "gradient_flow_ratio"] == 0.5
    assert ("head", None, "gradient_flow_ratio") not in found


def test_zero_weights_have_no_relative_update():
    found = metrics_of([1.0] * 3, [0.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert found["up", 0, "relative_update"] == math.inf
    assert math.isnan(found["up", 1, "relative_update"])


def test_flags_stand_where_they_are_set_and_for_the_whole_always():
    found = metrics_of([1e-8, 1.0, 2e3])
    assert found["up", 0, "vanishing_gradient"] == 1
    assert ("up", 1, "vanishing_gradient") not in found
    assert ("up", None, "vanishing_gradient") not in found
    assert found["all", None, "vanishing_gradient"] == 0
    assert found["head", None, "exploding_gradient"] == 1
    assert found["all", None, "exploding_gradient"] == 1


def test_the_edges_themselves_are_not_flagged():
    found = metrics_of([1e-7, 1.0, 1e3])
    assert ("up", 0, "vanishing_gradient") not in found
    assert ("head", None, "exploding_gradient") not in found


def test_counts_add_up_and_nan_is_no_size():
    counts = np.array([[2, 0, 0, 0], [1, 3, 0, 0], [0, 0, 4, 5]])
    found = metrics_of([math.nan, math.inf, 1.0], nonfinite=counts)
    assert found["up", None, "gradient_nan"] == 3
    assert found["up", 1, "gradient_inf"] == 3
    assert found["all", None, "weight_nan"] == 4 and found["head", None, "weight_inf"] == 5
    assert ("up", 0, "gradient_inf") not in found
    assert ("up", 0, "exploding_gradient") not in found
    assert found["up", 1, "exploding_gradient"] == 1
    assert math.isnan(found["up", None, "gradient_norm"])
