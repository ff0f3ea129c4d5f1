"""What a run's own updates gain to first order and what curvature takes back, along its way."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from muonlab.declare import measurement
from muonlab.measure.descent import one_step
from muonlab.probes.curvature import DTYPE, fixed_loss
from muonlab.probes.finished import FinishedRun, Place

COLUMNS = {
    "point": str,
    "step": int,
    "rung": int,
    "loss": float,
    "metric": str,
    "value": float,
    "examples": int,
}
TOKENS = 2048  # of the fixed batch (images, if there is no text): memory of the second derivative


@measurement(split="train", memory_mb=2500)
def descent(run: FinishedRun, places: Sequence[Place], split: Any, device: str) -> Iterator[dict]:
    """The metrics of `measure.descent` for the update that led to each place, on one batch that all
    runs share, in evaluation mode; `loss` is the batch's before the update. There are no rows where
    no update was kept, as at the start. A layer is one group; tensors in no layer are one, too."""
    examples = min(len(split), max(1, TOKENS // split.tokens_per_example))
    loss = fixed_loss(split, examples)
    for place in places:
        update = run.update(place.step)
        if update is None:
            continue
        weights = run.weights(place.step)
        before = {name: (w.double() - update[name].double()) for name, w in weights.items()}
        model = run.model(weights).to(device, DTYPE)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before[name])
        moves = {name: move.to(device, DTYPE) for name, move in update.items()}
        found = one_step(lambda m=model: loss(m), parameters, moves, groups_of(model))
        for metric, value in found._asdict().items():
            if metric != "loss":
                row = {"metric": metric, "value": value, "examples": examples}
                yield place._asdict() | {"loss": found.loss} | row


def groups_of(model: torch.nn.Module) -> list[list[str]]:
    """The parameters of each layer, and those in none; without layers, each tensor is a group."""
    names = [name for name, _ in model.named_parameters()]
    if not hasattr(model, "layer_of"):
        return [[name] for name in names]
    layers: dict[int | None, list[str]] = {}
    for name, layer in model.layer_of().items():
        layers.setdefault(layer, []).append(name)
    return list(layers.values())
