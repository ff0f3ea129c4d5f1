"""How the entries of the gradient are distributed, by component and layer, while a run trains.

Recorded are quantiles of |g| over the entries of a component in one layer, of the gradient before
clipping. Of a large tensor every n-th entry is read, always the same ones, `SAMPLED` or a little
more in all.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from muonlab.hooks import Observer, WatchedUpdate
from muonlab.io.columns import write_records
from muonlab.measure.component_sizes import Group, groups_of
from muonlab.observers.cost import Cost
from muonlab.observers.kept import Kept

COLUMNS = {
    "step": int,
    "tokens": int,
    "component": str,
    "layer": int,  # null: the component is in no layer
    "quantile": float,
    "value": float,
}
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
SAMPLED = 2**16


class GradientMonitor(Observer):
    """Records of one run, at each step that is `due`; `tokens(step)` says what it has seen.

    A tensor that received no gradient counts as one of zeros.
    """

    def __init__(
        self, model: nn.Module, every: int, tokens: Callable[[int], int] = lambda step: step
    ):
        self.every, self.tokens, self.kept = every, tokens, Kept()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = list(parameters.values())
        layers = model.layer_of() if hasattr(model, "layer_of") else {}
        self.groups = _narrowest(groups_of(list(parameters), model.components(), layers))
        self.cost = Cost(next(model.parameters()).device)

    def due(self, step: int) -> bool:
        return step % self.every == 0

    @torch.no_grad()
    def before_clipping(self, update: WatchedUpdate) -> None:
        with self.cost.spent():
            found = [
                quantiles([self.parameters[i] for i in members]) for members in self.groups.values()
            ]
            self.kept.add(update.step, "usual", self._labels, torch.cat(found))

    def _labels(self) -> list[tuple]:
        return [(group, quantile) for group in map(tuple, self.groups) for quantile in QUANTILES]

    def rows(self) -> Iterator[tuple]:
        """Rows with `COLUMNS`, in the order of recording."""
        for step, ((component, layer), quantile), value in self.kept.rows():
            yield (step, self.tokens(step), component, layer, quantile, value)

    def write(self, folder: Path) -> None:
        rows = (dict(zip(COLUMNS, row, strict=True)) for row in self.rows())
        write_records(folder / "gradients.parquet", rows, COLUMNS)

    def state_dict(self) -> dict:
        return {"kept": self.kept.state_dict(), "seconds": self.cost.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.kept.load_state_dict(state["kept"])
        self.cost.seconds = state["seconds"]


def quantiles(parameters: list[nn.Parameter]) -> Tensor:
    """The `QUANTILES` of |g| over the gradients of these parameters together, in float64."""
    parts = []
    for p in parameters:
        gradient = torch.zeros_like(p) if p.grad is None else p.grad
        stride = max(1, len(parameters) * p.numel() // SAMPLED)
        parts.append(gradient.flatten()[::stride].abs().double())
    entries = torch.cat(parts)
    return torch.quantile(entries, torch.tensor(QUANTILES, dtype=entries.dtype, device=p.device))


def _narrowest(groups: dict[Group, list[int]]) -> dict[Group, list[int]]:
    """The components in each layer, and those that are in no layer."""
    layered = {group.component for group in groups if group.layer is not None}
    return {
        group: members
        for group, members in groups.items()
        if group.component != "all" and (group.layer is not None or group.component not in layered)
    }
