"""The geometry of a run while it trains: its weights, its steps, and its distance from the start.

At step t, before the update that leads to W_{t+1}, four objects of each matrix are measured:

    weight        W_t
    step          W_{t+1} − W_t, the single update, with the gradient that it was computed from
    displacement  W_t − W at the previous record
    from_start    W_t − W_0

Each object has every metric of `measure.singular_values` (the power-law tail only if its spectrum
is long enough). The three differences also have `update_rms`, `relative_update` and the subspace
alignment (left, right, top 5) with W_t. The weight also has its alignment with its own value at the
previous record (`drift`) and at the start (`drift_from_start`). `update_gradient_cosine` and the
sizes of the step are recorded for each matrix and, under the tensor name `all`, for all parameters
together. At step 0 there is no displacement, and after the last update there is no step: these rows
are left out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from muonlab.hooks import Observer, Run, WatchedUpdate, copy_of
from muonlab.io.columns import write_records
from muonlab.measure.alignment import cosine, mean_cosine, singular_system
from muonlab.measure.singular_values import MIN_EIGENVALUES, spectrum_metrics

COLUMNS = {
    "step": int,
    "tensor": str,
    "component": str,
    "object": str,
    "metric": str,
    "value": float,
}
TOP_K = 5  # singular directions that are compared
WHOLE = "all"  # the tensor's name in rows about all parameters together

Label = tuple[str, str, str, str]  # tensor, component, object, metric
State = Mapping[str, Tensor]
Bases = tuple[Tensor, Tensor]  # U (b, m, k) and V (b, n, k) of b matrices


class Block(NamedTuple):
    """Values (objects, tensors, metrics) and what each axis stands for."""

    objects: Sequence[str]
    tensors: Sequence[str]
    metrics: Sequence[str]
    values: Tensor


class GeometryMonitor(Observer):
    """Records of one run, taken by `record` at each step that is `due` and by `last` at its end.

    A record is kept as one vector on the model's device. Its labels are stored once for each kind
    of record (first step, usual step, end), so that records cost a run little.
    """

    compares_weights = True

    def __init__(self, model: nn.Module, components: Mapping[str, str], every: int):
        self.every, self.components = every, dict(components)
        self.start = copy_of(model)
        self.previous = self.start
        self.groups: dict[str, list[str]] = {}
        for name, p in self.start.items():
            if p.ndim == 2:
                self.groups.setdefault("x".join(map(str, p.shape)), []).append(name)
        self.start_bases: dict[str, Bases] = {
            shape: singular_system(_stack(self.start, names), TOP_K)[1:]
            for shape, names in self.groups.items()
        }
        self.previous_bases = dict(self.start_bases)
        self.labels: dict[str, list[Label]] = {}
        self.records: list[tuple[int, str, Tensor]] = []

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def after_update(self, update: WatchedUpdate) -> None:
        self.record(update.step, update.before, update.after, gradients_of(update.model))

    def finish(self, run: Run) -> None:
        """Takes the last record, except for a run that diverged."""
        if run.stopped_at is None:
            self.last(run.step, copy_of(run.model))

    def write(self, folder: Path) -> None:
        write_geometry(folder / "geometry.parquet", self.rows())

    @torch.no_grad()
    def record(self, step: int, before: State, after: State, gradients: State) -> None:
        """Takes the record of `step`: W_t is `before`, W_{t+1} `after`, ∇L(W_t) `gradients`."""
        blocks = self._shapes(step, before, after) + self._gradients(before, after, gradients)
        self._keep(step, "usual" if step > 0 else "first", blocks)
        self.previous = before

    @torch.no_grad()
    def last(self, step: int, weights: State) -> None:
        """Takes the last record, of the final weights."""
        self._keep(step, "end", self._shapes(step, weights, None))

    def _shapes(self, step: int, now: State, after: State | None) -> list[Block]:
        return [
            block
            for shape, names in self.groups.items()
            for block in self._measure(step, shape, names, now, after)
        ]

    def _measure(
        self, step: int, shape: str, names: list[str], now: State, after: State | None
    ) -> list[Block]:
        """Blocks of the matrices `names`, all of one shape."""
        W = _stack(now, names)  # (b, m, n)
        objects = {"weight": W}
        if after is not None:
            objects["step"] = _stack(after, names) - W
        if step > 0:
            objects["displacement"] = W - _stack(self.previous, names)
            objects["from_start"] = W - _stack(self.start, names)
        sigma, U, V = singular_system(torch.stack(list(objects.values())), TOP_K)
        spectral = spectrum_metrics(sigma)  # each (objects, b)
        if sigma.shape[-1] < MIN_EIGENVALUES:
            del spectral["alpha"], spectral["alpha_ks"]
        blocks = [_block(list(objects), names, spectral)]
        if len(objects) > 1:
            sizes = _sizes(spectral["frobenius_norm"], math.prod(W.shape[-2:]))
            alignment = _alignment("subspace_alignment", (U[:1], V[:1]), (U[1:], V[1:]))
            blocks.append(_block(list(objects)[1:], names, sizes | alignment))
        own = (U[0], V[0])
        if step > 0:
            drift = _alignment("drift", own, self.previous_bases[shape])
            drift |= _alignment("drift_from_start", own, self.start_bases[shape])
            blocks.append(_block(["weight"], names, {k: v[None] for k, v in drift.items()}))
        self.previous_bases[shape] = (own[0].clone(), own[1].clone())
        return blocks

    def _gradients(self, before: State, after: State, gradients: State) -> list[Block]:
        """Compares the step with the gradient that it was computed from, by matrix and for all
        parameters together."""
        changes = {name: after[name].double() - before[name].double() for name in gradients}
        matrices = [name for names in self.groups.values() for name in names if name in gradients]
        cosines = [cosine(changes[name], gradients[name]) for name in matrices]
        update, gradient = _flat(changes), _flat(gradients)
        norm = torch.linalg.vector_norm(update)
        size = torch.linalg.vector_norm(_flat(before).double())
        whole = {
            "update_gradient_cosine": cosine(update, gradient),
            "frobenius_norm": norm,
            "update_rms": norm / math.sqrt(update.numel()),
            "relative_update": norm / size,
        }
        return [
            Block(["step"], matrices, ["update_gradient_cosine"], torch.stack(cosines)),
            Block(["step"], [WHOLE], list(whole), torch.stack(list(whole.values()))),
        ]

    def _keep(self, step: int, kind: str, blocks: list[Block]) -> None:
        if kind not in self.labels:
            self.labels[kind] = [
                (tensor, self.components.get(tensor, WHOLE), each, metric)
                for block in blocks
                for each in block.objects
                for tensor in block.tensors
                for metric in block.metrics
            ]
        self.records.append((step, kind, torch.cat([block.values.flatten() for block in blocks])))

    def rows(self) -> Iterator[tuple]:
        """(step, tensor, component, object, metric, value), in the order of recording."""
        for step, kind, values in self.records:
            for label, value in zip(self.labels[kind], values.tolist(), strict=True):
                yield (step, *label, value)

    def state_dict(self) -> dict:
        """The state for a checkpoint, without what follows from the initial weights."""
        return {
            "labels": self.labels,
            "records": [(step, kind, len(values)) for step, kind, values in self.records],
            "values": torch.cat([values for *_, values in self.records]) if self.records else None,
            "previous": dict(self.previous),
            "previous_bases": self.previous_bases,
        }

    def load_state_dict(self, state: dict) -> None:
        self.labels, self.previous = state["labels"], state["previous"]
        self.previous_bases = state["previous_bases"]
        lengths = [length for *_, length in state["records"]]
        values = state["values"].split(lengths) if lengths else []
        self.records = [
            (step, kind, own) for (step, kind, _), own in zip(state["records"], values, strict=True)
        ]


def _flat(state: State) -> Tensor:
    """All tensors of `state` as one vector, in its order."""
    return torch.cat([tensor.flatten() for tensor in state.values()])


def _stack(state: State, names: Sequence[str]) -> Tensor:
    """Matrices of one shape as (b, m, n), in float64, so that small differences are not lost."""
    return torch.stack([state[name].double() for name in names])


def _block(objects: Sequence[str], names: Sequence[str], values: dict[str, Tensor]) -> Block:
    """A block of metrics that are each (objects, b)."""
    return Block(objects, names, list(values), torch.stack(list(values.values()), dim=-1))


def _sizes(norms: Tensor, elements: int) -> dict[str, Tensor]:
    """Sizes of the differences, from norms[1:] (objects − 1, b), relative to the weight's norm,
    norms[:1]."""
    return {"update_rms": norms[1:] / math.sqrt(elements), "relative_update": norms[1:] / norms[:1]}


def _alignment(name: str, one: Bases, other: Bases) -> dict[str, Tensor]:
    """Mean cosines of the left and of the right subspaces, named name_left and name_right."""
    overlaps = [Q_one.mT @ Q_other for Q_one, Q_other in zip(one, other, strict=True)]
    left, right = mean_cosine(torch.stack(overlaps))
    return {f"{name}_left": left, f"{name}_right": right}


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """The gradients of the parameters that have one; not copied."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def write_geometry(path: Path, rows: Iterable[tuple]) -> None:
    """The rows as parquet, the same bytes for the same rows; no rows give an empty table."""
    write_records(path, (dict(zip(COLUMNS, row, strict=True)) for row in rows), COLUMNS)
