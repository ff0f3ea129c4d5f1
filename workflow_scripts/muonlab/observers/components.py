"""Sizes of a language model's components while it trains, and values of its forward pass.

At step t, around the update that leads from W_t to W_{t+1}, `ComponentMonitor` records

    the norms of the gradient before clipping, of W_t and of W_{t+1} − W_t, and the metrics that
        `measure.component_sizes` derives from them, by component and layer
    values of the forward pass, under the component `forward`: activations, attention logits, the
        routing of experts
    values of the whole run, under the component `all`: learning rate, norm before clipping

A record stays on the model's device as one vector until it is written. It costs one copy of the
weights, four passes over them and one over the gradients. On a GPU the host waits for a single
value: whether all norms are finite.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from muonlab.hooks import Observer, WatchedUpdate
from muonlab.io.columns import write_records
from muonlab.measure.component_sizes import (
    ALL,
    KINDS,
    Sizes,
    component_metrics,
    groups_of,
    nonfinite_counts,
    tensor_norms,
)

COLUMNS = {
    "step": int,
    "component": str,
    "layer": int,  # null: the row is about the whole component
    "index": int,  # the position in a vector of values (an expert, a head), else null
    "metric": str,
    "value": float,
}
FORWARD = "forward"  # the component in rows about the forward pass

Row = tuple[int, str, int | None, int | None, str, float]
Watched = Mapping[str, Mapping[int | None, Tensor]]  # metric, layer, value or vector of values


class ComponentMonitor(Observer):
    """Records of one run. At each step that is `due`, two calls around the update take a record:

        loss.backward()
        monitor.before_update()
        clip, optimizers.step()
        monitor.record(step, watched, whole)

    The model names its tensors by `components()`, {name: component}, and where it has layers by
    `layer_of()`, {name: layer or None}. Gradients must be those of the loss: unscaled, and complete
    if they are accumulated. Tensors that need no gradient are left out; a tensor that has received
    none counts as having a gradient of 0. Raises ValueError for a tensor without a component.
    """

    watches_forward = True

    def __init__(self, model: nn.Module, every: int):
        self.every = every
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        layers = model.layer_of() if hasattr(model, "layer_of") else {}
        self.groups = groups_of(list(parameters), model.components(), layers)
        self.parameters = list(parameters.values())
        self.layouts: list[list[tuple]] = []  # (component, layer, index, metric) of a record's tail
        self.records: list[tuple[int, int, Tensor]] = []  # step, layout, (3n + tail,)
        self.nonfinite: dict[int, Tensor] = {}  # step: (n, 4), where a count is not 0
        self._copies: list[Tensor] | None = None
        self._before: tuple[Tensor, Tensor | None] | None = None  # norms (2n,), counts

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def before_clipping(self, update: WatchedUpdate) -> None:
        self.before_update()

    def after_update(self, update: WatchedUpdate) -> None:
        self.record(update.step, update.forward, {"lr_factor": update.lr_factor})

    def write(self, folder: Path) -> None:
        write_components(folder / "components.parquet", self.rows())

    @torch.no_grad()
    def before_update(self) -> None:
        """Measures gradients and weights, and keeps a copy of the weights until `record`."""
        gradients = [p.grad for p in self.parameters]
        if all(gradient is None for gradient in gradients):
            raise ValueError("before_update: no tensor has a gradient; call it after backward()")
        norms = torch.cat([tensor_norms(gradients), tensor_norms(self.parameters)])
        counts = None
        if not norms.isfinite().all():
            pair = [nonfinite_counts(tensors) for tensors in (gradients, self.parameters)]
            counts = torch.cat(pair, dim=1)
        self._before = (norms, counts)
        self._copy()

    def _copy(self) -> None:
        """Keeps a copy of the present weights."""
        weights = [p.detach() for p in self.parameters]
        if self._copies is None:
            self._copies = [weight.clone() for weight in weights]
        else:
            torch._foreach_copy_(self._copies, weights)

    def _change_norms(self) -> Tensor:
        """Norms (n,) of the change of the weights since `_copy`."""
        copies = self._copies
        # The difference has the opposite sign, which does not change its norm.
        torch._foreach_sub_(copies, [p.detach() for p in self.parameters])
        if copies[0].device.type != "cpu":
            # On a CPU the memory is kept, since allocating it anew takes ten times as long as the
            # copy. On a GPU it is freed for the activations of the steps between records.
            self._copies = None
        return tensor_norms(copies)

    @torch.no_grad()
    def record(
        self,
        step: int,
        watched: Watched | None = None,
        whole: Mapping[str, float | Tensor] | None = None,
    ) -> None:
        """Takes the record of `step`; `before_update` must have been called before its update.

        `watched` has tensors of one value, or of one for each expert or head, whose rows then have
        an index; `whole` has one value each. All tensors are on the model's device. Raises
        ValueError if `before_update` was not called.
        """
        if self._before is None:
            raise ValueError(f"record: before_update was not called at step {step}")
        (norms, counts), self._before = self._before, None
        labels, tail = _tail(watched or {}, whole or {}, norms.device)
        # Concatenation gives the widest type, float64.
        self._keep(step, labels, torch.cat([norms, self._change_norms(), *tail]))
        if counts is not None:
            self.nonfinite[step] = counts

    def _keep(self, step: int, labels: list[tuple], values: Tensor) -> None:
        if labels not in self.layouts:
            self.layouts.append(labels)
        self.records.append((step, self.layouts.index(labels), values))

    def rows(self) -> Iterator[Row]:
        """(step, component, layer, index, metric, value), in the order of recording.

        Layer and index may be None.
        """
        n = len(self.parameters)
        none = np.zeros((n, 2 * len(KINDS)))
        for step, layout, values in self.records:
            numbers = values.cpu().numpy()
            counts = self.nonfinite[step].cpu().numpy() if step in self.nonfinite else none
            sizes = Sizes(*numbers[: 3 * n].reshape(3, n), counts)
            for (component, layer), metric, value in component_metrics(sizes, self.groups):
                yield (step, component, layer, None, metric, value)
            for label, value in zip(self.layouts[layout], numbers[3 * n :].tolist(), strict=True):
                yield (step, *label, value)

    def state_dict(self) -> dict:
        """The state for a checkpoint, which may be taken between two updates."""
        return {
            "layouts": self.layouts,
            "records": [(step, layout, len(values)) for step, layout, values in self.records],
            "values": torch.cat([values for *_, values in self.records]) if self.records else None,
            "nonfinite": self.nonfinite,
        }

    def load_state_dict(self, state: dict) -> None:
        lengths = [length for *_, length in state["records"]]
        values = state["values"].split(lengths) if lengths else []
        self.layouts, self.nonfinite = list(state["layouts"]), dict(state["nonfinite"])
        self.records = [
            (step, layout, own)
            for (step, layout, _), own in zip(state["records"], values, strict=True)
        ]


def _tail(
    watched: Watched, whole: Mapping[str, float | Tensor], device: torch.device
) -> tuple[list[tuple], list[Tensor]]:
    """Labels (component, layer, index, metric) of the values that are not norms, and the values as
    vectors."""
    labels, tail = [], []
    for metric, by_layer in watched.items():
        for layer, values in by_layer.items():
            indices = range(values.numel()) if values.ndim else (None,)
            labels += [(FORWARD, layer, index, metric) for index in indices]
            tail.append(values.reshape(-1))
    labels += [(ALL, None, None, metric) for metric in whole]
    numbers = [float(v) for v in whole.values() if not isinstance(v, Tensor)]
    given = iter(torch.tensor(numbers, dtype=torch.float64).to(device, non_blocking=True))
    for value in whole.values():
        tail.append((value if isinstance(value, Tensor) else next(given)).reshape(1))
    return labels, tail


def write_components(path: Path, rows: Iterable[Row]) -> None:
    """The rows as parquet, the same bytes for the same rows; no rows give an empty table."""
    write_records(path, (dict(zip(COLUMNS, row, strict=True)) for row in rows), COLUMNS)
