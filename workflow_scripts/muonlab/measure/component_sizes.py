"""The size of weights, gradients and updates, by component and layer of a model.

Norms are taken of each tensor on its device, in float64 whatever the tensor's type: float32 sums
lose up to a percent over 10⁷ elements, and squares of bfloat16's large values overflow them. The
host groups them afterwards: a group's norm is the root of the sum of its tensors' squared norms,
as if the tensors were one vector. Groups are

    (all, None)        all tensors
    (all, layer)       all tensors of a layer
    (component, None)  all tensors of a component, in whatever layer or in none
    (component, layer) those of a component in one layer
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from muonlab.measure.stability import EXPLODING, VANISHING

ALL = "all"  # the component's name in groups of all components
PIECE = 2**18  # elements of a tensor that a CPU measures at a time
KINDS = ("gradient", "weight")  # kinds of tensors whose non-finite values are counted


class Group(NamedTuple):
    """A component (or `all`) in one layer, or in the whole model (None)."""

    component: str
    layer: int | None


class Sizes(NamedTuple):
    """The values of n tensors in one record; the update is the weights' change by one step."""

    gradient: np.ndarray  # norms (n,), before clipping
    weight: np.ndarray  # norms (n,), before the update
    update: np.ndarray  # norms (n,)
    nonfinite: np.ndarray  # counts (n, 4): NaN and Inf among gradients, NaN and Inf among weights


@torch.no_grad()
def tensor_norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """Euclidean norms (n,) in float64, on the tensors' device; 0 for None and for an empty tensor.

    A norm is not finite exactly if its tensor holds a value that is not (or a float64 value over
    1e154). Raises ValueError if all are None, since no device is known then.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        raise ValueError("tensor_norms: there is no tensor to measure")
    pieces = [_pieces(tensor) for tensor in present]
    norms = torch._foreach_norm([piece for own in pieces for piece in own], 2, dtype=torch.float64)
    if len(norms) > len(present):
        of_each = torch.stack(norms).split([len(own) for own in pieces])
        norms = [torch.linalg.vector_norm(own) for own in of_each]
    return _in_place(norms, tensors)


def _pieces(tensor: Tensor) -> Sequence[Tensor]:
    """The tensor; on a CPU it is cut into pieces. The norm makes float64 copies there, and the
    copies of pieces stay in the cache, which is four times as fast."""
    if tensor.device.type != "cpu" or tensor.numel() <= PIECE or not tensor.is_contiguous():
        return (tensor,)
    return tensor.view(-1).split(PIECE)


@torch.no_grad()
def nonfinite_counts(tensors: Sequence[Tensor | None]) -> Tensor:
    """How many values are NaN and how many ±Inf: (n, 2) int64, on the tensors' device.

    This takes several passes over all values, so call it only where `tensor_norms` is not finite.
    Raises ValueError if all are None.
    """
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        raise ValueError("nonfinite_counts: there is no tensor to measure")
    counts = [torch.stack([tensor.isnan().sum(), tensor.isinf().sum()]) for tensor in present]
    return _in_place(counts, tensors)


def _in_place(values: Sequence[Tensor], tensors: Sequence[Tensor | None]) -> Tensor:
    """The values, which belong to the tensors that are not None, stacked, with 0 for each None."""
    zero, following = torch.zeros_like(values[0]), iter(values)
    return torch.stack([zero if tensor is None else next(following) for tensor in tensors])


def groups_of(
    names: Sequence[str], components: Mapping[str, str], layers: Mapping[str, int | None]
) -> dict[Group, list[int]]:
    """Positions in `names` of each group's tensors: `all` first, then components in their order.

    A name that `layers` does not have is in no layer. Raises ValueError for a name without a
    component, and for a component that is called `all`.
    """
    for name in names:
        if components.get(name, ALL) == ALL:
            raise ValueError(f"groups_of: {name!r} needs a component, and none is called {ALL!r}")
    members: dict[str, list[int]] = {ALL: list(range(len(names)))}
    for i, name in enumerate(names):
        members.setdefault(components[name], []).append(i)
    groups = {}
    for component, positions in members.items():
        groups[Group(component, None)] = positions
        own = [layers.get(names[i]) for i in positions]
        for layer in sorted({layer for layer in own if layer is not None}):
            groups[Group(component, layer)] = [
                i for i, of in zip(positions, own, strict=True) if of == layer
            ]
    return groups


def group_norms(norms: np.ndarray, groups: Mapping[Group, Sequence[int]]) -> dict[Group, float]:
    """Norms of the groups from those of the tensors (n,); 0 for no tensors."""
    return {group: float(np.linalg.norm(norms[own])) for group, own in groups.items()}


def gradient_flow(norms: Mapping[Group, float]) -> dict[Group, float]:
    """Gradient norm in the first layer over that in the last, under (component, None).

    For each component of at least two layers, and for all; ∞ over a last layer of 0, NaN for 0/0.
    """
    flow = {}
    for component in dict.fromkeys(group.component for group in norms):
        layers = [g.layer for g in norms if g.component == component and g.layer is not None]
        if len(layers) > 1:
            first, last = norms[component, min(layers)], norms[component, max(layers)]
            flow[Group(component, None)] = _ratio(first, last)
    return flow


def component_metrics(
    sizes: Sizes, groups: Mapping[Group, Sequence[int]]
) -> Iterator[tuple[Group, str, float]]:
    """(group, metric, value) of one record.

    Of each group `gradient_norm`, `weight_norm`, `update_norm` and `relative_update` = ‖ΔW‖/‖W‖,
    the effective learning rate. `gradient_flow_ratio` as in `gradient_flow`. The flags
    `vanishing_gradient` (norm under 1e-7) and `exploding_gradient` (over 1e3), and the counts
    `gradient_nan`, `gradient_inf`, `weight_nan`, `weight_inf` are given for a group where they are
    not 0, and for all tensors together always.
    """
    gradient, weight, update = (group_norms(norms, groups) for norms in sizes[:3])
    flow = gradient_flow(gradient)
    for group, own in groups.items():
        yield group, "gradient_norm", gradient[group]
        yield group, "weight_norm", weight[group]
        yield group, "update_norm", update[group]
        yield group, "relative_update", _ratio(update[group], weight[group])
        if group in flow:
            yield group, "gradient_flow_ratio", flow[group]
        for metric, value in _alarms(gradient[group], sizes.nonfinite[own]):
            if value or group == (ALL, None):
                yield group, metric, value


def _alarms(gradient_norm: float, nonfinite: np.ndarray) -> Iterator[tuple[str, float]]:
    """Flags and counts of a group; NaN is neither vanishing nor exploding, but it is counted."""
    yield "vanishing_gradient", float(gradient_norm < VANISHING)
    yield "exploding_gradient", float(gradient_norm > EXPLODING)
    names = [f"{kind}_{what}" for kind in KINDS for what in ("nan", "inf")]
    yield from zip(names, map(float, nonfinite.sum(axis=0)), strict=True)


def _ratio(a: float, b: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(a) / np.float64(b))
