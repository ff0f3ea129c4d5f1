"""Where the attention of finished models looks, and which experts they use, on validation text."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from muonlab.data.batches import evenly
from muonlab.declare import measurement
from muonlab.measure.attention_patterns import (
    attention_probabilities,
    coarse_map,
    entropy,
    mean_distance,
    relative_entropy,
)
from muonlab.probes.finished import FinishedRun

COLUMNS = {
    "layer": int,
    "head": int,
    "metric": str,
    "row": int,
    "column": int,
    "value": float,
}
AT_ONCE = 16  # windows of a batch


@measurement(of="arm", split="validation")
def attention_patterns(run: FinishedRun, split: Any, settings: dict, device: str) -> Iterator[dict]:
    """For every layer and head, means over queries and windows at the end of the run:
    `attention_entropy` in nats, `relative_entropy` (over that of uniform attention, without the
    first query) and `mean_distance` in tokens. `map` is the mean over heads and windows of the
    probability of each key (`column`) for each query (`row`), with at most `map_size` of each. The
    router of each layer: `expert_load` by expert (in `column`), and `expert_load_entropy` and
    `router_entropy` over ln E. A diverged run has no rows.
    """
    weights = run.weights(run.last)
    if run.config["model"]["name"] != "transformer" or not _finite(weights):
        return
    model = run.model(weights).to(device)
    sums: dict[tuple, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    chosen = evenly(len(split), settings["examples"])
    batches = [chosen[start : start + AT_ONCE] for start in range(0, len(chosen), AT_ONCE)]
    for indices in batches:
        inputs, _, documents = split.batch(indices)
        for key, value in _watched(model, inputs, documents, settings["map_size"]).items():
            sums[key] = sums[key] + value.double().cpu() * len(indices)
    for (metric, layer), total in sums.items():
        yield from _rows(metric, layer, total / len(chosen))


@torch.no_grad()
def _watched(model: nn.Module, inputs: Tensor, documents, size: int) -> dict[tuple, Tensor]:
    """(metric, layer) → its mean over the batch, from one forward pass."""
    found: dict[tuple, Tensor] = {}

    def before(attention: nn.Module, arguments: tuple) -> None:
        x, state = arguments
        query, key, _ = attention.queries_keys_values(x, state.rotation)
        p = attention_probabilities(query.float(), key.float(), state.visible)
        layer = attention.layer
        found["attention_entropy", layer] = entropy(p).mean((0, 2))
        found["relative_entropy", layer] = relative_entropy(p)[..., 1:].mean((0, 2))
        found["mean_distance", layer] = mean_distance(p).mean((0, 2))
        found["map", layer] = coarse_map(p.mean((0, 1)), size)

    hooks = [block.attention.register_forward_pre_hook(before) for block in model.layers]
    try:
        with model.watching() as seen:
            model(inputs, documents)
    finally:
        for hook in hooks:
            hook.remove()
    for metric in ("expert_load", "expert_load_entropy", "router_entropy"):
        found |= {(metric, layer): value for layer, value in seen.get(metric, {}).items()}
    return found


def _rows(metric: str, layer: int, value: Tensor) -> Iterator[dict]:
    row = {"layer": layer, "metric": metric}
    if metric == "map":
        for i, line in enumerate(value.tolist()):
            yield from (row | {"row": i, "column": j, "value": v} for j, v in enumerate(line))
    elif metric == "expert_load":
        yield from (row | {"column": j, "value": v} for j, v in enumerate(value.tolist()))
    elif value.ndim:
        yield from (row | {"head": j, "value": v} for j, v in enumerate(value.tolist()))
    else:
        yield row | {"value": value.item()}


def _finite(weights: dict[str, Tensor]) -> bool:
    return all(bool(w.isfinite().all()) for w in weights.values())
