"""The geometry of a run while it trains: its weights, its steps, and its distance from the start.

At step t, before the update that leads to W_{t+1}, these objects of each matrix are measured:

    weight        W_t
    step          W_{t+1} − W_t, the single update, with the gradient that it was computed from
    momentum      the optimizer's first moment, from which it made this update
    displacement  W_t − W at the previous record
    from_start    W_t − W_0

Stacked experts are measured one by one. Each object has every metric of `measure.singular_values`
but the power-law tail, and each but the weight its subspace alignment (left, right, top 5) with
W_t. The differences also have `update_rms` and `relative_update`. The weight also has its alignment
with its own value at the previous record (`drift`) and at the start (`drift_from_start`), and in
the first and the last record all its singular values. `update_gradient_cosine` and the sizes of the
step are recorded for each tensor and, under the tensor name `all`, for all parameters together. At
step 0 there is no displacement, and after the last update there is no step and no momentum: these
rows are left out.

Matrices of one shape are decomposed together, on the model's device, in float64 (`measure.gram`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from muonlab.hooks import Observer, Run, WatchedUpdate, copy_of
from muonlab.io.columns import write_records
from muonlab.measure.alignment import cosine, mean_cosine
from muonlab.measure.gram import gram_system
from muonlab.measure.singular_values import spectrum_metrics
from muonlab.observers.cost import Cost
from muonlab.observers.kept import Kept
from muonlab.observers.stacks import Member, State, groups, stack

COLUMNS = {
    "step": int,
    "tokens": int,  # seen before this step
    "tensor": str,
    "component": str,
    "layer": int,  # null: the tensor is in no layer
    "expert": int,  # null: the tensor is no stack of experts
    "rows": int,
    "columns": int,
    "object": str,
    "metric": str,
    "index": int,  # the position in a spectrum, else null
    "value": float,
}
TOP_K = 5  # singular directions that are compared
WHOLE = "all"  # the tensor's name in rows about all parameters together

Label = tuple[str, int | None, str, str, int | None]  # tensor, expert, object, metric, index
Bases = tuple[Tensor, Tensor]  # U (b, m, k) and V (b, n, k) of b matrices


class Block(NamedTuple):
    """Values (members, metrics) of one object, and what each axis stands for. An index has one
    metric of many values."""

    object: str
    members: Sequence[Member]
    metrics: Sequence[tuple[str, int | None]]
    values: Tensor


class GeometryMonitor(Observer):
    """Records of one run, taken by `record` at each step that is `due` and by `last` at its end.

    `tokens(step)` says how many tokens (or images) the run has seen, `momentum()` gives the first
    moments of its tensors by name.
    """

    compares_weights = True

    def __init__(
        self,
        model: nn.Module,
        every: int,
        tokens: Callable[[int], int] = lambda step: step,
        momentum: Callable[[], State] = dict,
    ):
        self.every, self.tokens, self.momentum = every, tokens, momentum
        self.components = model.components()
        self.layers = model.layer_of() if hasattr(model, "layer_of") else {}
        self.start = copy_of(model)
        self.shapes = {name: tuple(p.shape[-2:]) for name, p in self.start.items() if p.ndim > 1}
        self.previous = self.start
        self.cost = Cost(next(model.parameters()).device)
        self.groups = dict(enumerate(groups(self.start)))
        self.start_bases: dict[int, Bases] = {}
        self.previous_bases: dict[int, Bases] = {}
        self.kept = Kept()

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def after_update(self, update: WatchedUpdate) -> None:
        with self.cost.spent():
            gradients = gradients_of(update.model)
            self.record(update.step, update.before, update.after, gradients, self.momentum())

    def finish(self, run: Run) -> None:
        """Takes the last record, except for a run that diverged."""
        if run.stopped_at is None:
            with self.cost.spent():
                self.last(run.step, copy_of(run.model))

    def write(self, folder: Path) -> None:
        write_geometry(folder / "geometry.parquet", self.rows())

    @torch.no_grad()
    def record(
        self,
        step: int,
        before: State,
        after: State,
        gradients: State,
        momentum: State | None = None,
    ) -> None:
        """Takes the record of `step`: W_t is `before`, W_{t+1} `after`, ∇L(W_t) `gradients`."""
        blocks = self._shapes(step, before, after, momentum or {}, spectrum=step == 0)
        blocks += self._gradients(before, after, gradients)
        self._keep(step, "usual" if step > 0 else "first", blocks)
        self.previous = before

    @torch.no_grad()
    def last(self, step: int, weights: State) -> None:
        """Takes the last record, of the final weights."""
        self._keep(step, "end", self._shapes(step, weights, None, {}, spectrum=True))

    def _shapes(
        self, step: int, now: State, after: State | None, momentum: State, spectrum: bool
    ) -> list[Block]:
        return [
            block
            for group, members in self.groups.items()
            for block in self._measure(step, group, members, now, after, momentum, spectrum)
        ]

    def _measure(
        self,
        step: int,
        group: int,
        members: list[Member],
        now: State,
        after: State | None,
        momentum: State,
        spectrum: bool,
    ) -> Iterator[Block]:
        """Blocks of the matrices `members`, all of one shape."""
        W = stack(now, members)  # (b, m, n)
        sigma, *own = gram_system(W, TOP_K)
        spectral = spectrum_metrics(sigma, tail=False)
        yield _block("weight", members, spectral)
        if spectrum:
            values = [("singular_values", i) for i in range(sigma.shape[-1])]
            yield Block("weight", members, values, sigma)
        for name, other in self._others(step, W, members, after):
            yield from _compared(name, members, other, own, spectral["frobenius_norm"])
        # Members without momentum (frozen ones) have no rows about it.
        moving = [i for i, (name, _) in enumerate(members) if name in momentum]
        if moving:
            some, chosen = stack(momentum, [members[i] for i in moving]), torch.tensor(moving)
            bases = [Q[chosen.to(Q.device)] for Q in own]
            yield from _compared("momentum", [members[i] for i in moving], some, bases, None)
        if step == 0:
            self.start_bases[group] = tuple(own)
        else:
            start = self._start(group, members)
            # An observer that started anew within the run compares with the start at first.
            drift = _alignment("drift", own, self.previous_bases.get(group, start))
            drift |= _alignment("drift_from_start", own, start)
            yield _block("weight", members, drift)
        self.previous_bases[group] = tuple(own)

    def _others(
        self, step: int, W: Tensor, members: list[Member], after: State | None
    ) -> Iterator[tuple[str, Tensor]]:
        """The differences that are measured beside the weights W (b, m, n), one at a time."""
        if after is not None:
            yield "step", stack(after, members) - W
        if step > 0:
            yield "displacement", W - stack(self.previous, members)
            yield "from_start", W - stack(self.start, members)

    def _start(self, group: int, members: list[Member]) -> Bases:
        """The leading subspaces of the initial weights, which no checkpoint holds."""
        if group not in self.start_bases:
            self.start_bases[group] = gram_system(stack(self.start, members), TOP_K)[1:]
        return self.start_bases[group]

    def _gradients(self, before: State, after: State, gradients: State) -> list[Block]:
        """Compares the step with the gradient that it was computed from, by tensor and for all
        parameters together."""
        changes = {name: after[name].double() - before[name].double() for name in gradients}
        matrices = [name for name in gradients if name in self.shapes]
        cosines = [cosine(changes[name], gradients[name]) for name in matrices]
        update, gradient = _flat(changes), _flat(gradients)
        norm = torch.linalg.vector_norm(update)
        size = torch.linalg.vector_norm(_flat(before).double())
        whole = {
            "update_gradient_cosine": cosine(update, gradient)[None],
            "frobenius_norm": norm[None],
            "update_rms": norm[None] / math.sqrt(update.numel()),
            "relative_update": (norm / size)[None],
        }
        found = [_block("step", [(WHOLE, None)], whole)]
        if matrices:
            each = {"update_gradient_cosine": torch.stack(cosines)}
            found.append(_block("step", [(name, None) for name in matrices], each))
        return found

    def _keep(self, step: int, kind: str, blocks: list[Block]) -> None:
        def labels() -> list[Label]:
            return [
                (*member, block.object, metric, index)
                for block in blocks
                for member in block.members
                for metric, index in block.metrics
            ]

        values = torch.cat([block.values.flatten() for block in blocks])
        self.kept.add(step, kind, labels, values)

    def rows(self) -> Iterator[tuple]:
        """Rows with `COLUMNS`, in the order of recording."""
        for step, (tensor, expert, *what, index), value in self.kept.rows():
            shape = self.shapes.get(tensor, (None, None))
            place = (self.components.get(tensor, WHOLE), self.layers.get(tensor), expert)
            yield (step, self.tokens(step), tensor, *place, *shape, *what, index, value)

    def state_dict(self) -> dict:
        """The state for a checkpoint, without what follows from the initial weights."""
        return {
            "kept": self.kept.state_dict(),
            "previous": dict(self.previous),
            "previous_bases": self.previous_bases,
            "seconds": self.cost.seconds,
        }

    def load_state_dict(self, state: dict) -> None:
        self.kept.load_state_dict(state["kept"])
        self.previous, self.previous_bases = state["previous"], state["previous_bases"]
        self.cost.seconds = state["seconds"]


def _flat(state: State) -> Tensor:
    """All tensors of `state` as one vector, in its order."""
    return torch.cat([tensor.flatten() for tensor in state.values()])


def _compared(
    name: str, members: Sequence[Member], other: Tensor, own: Sequence[Tensor], norms: Tensor | None
) -> Iterator[Block]:
    """The metrics of another object (b, m, n) of the matrices `members`, and its alignment with
    their own leading subspaces; with their norms (b,), its sizes relative to them, too."""
    sigma, *bases = gram_system(other, TOP_K)
    found = spectrum_metrics(sigma, tail=False)
    if norms is not None:
        found["update_rms"] = found["frobenius_norm"] / math.sqrt(math.prod(other.shape[-2:]))
        found["relative_update"] = found["frobenius_norm"] / norms
    yield _block(name, members, found | _alignment("subspace_alignment", own, bases))


def _block(name: str, members: Sequence[Member], values: dict[str, Tensor]) -> Block:
    """A block of metrics that are each (b,)."""
    metrics = [(metric, None) for metric in values]
    return Block(name, members, metrics, torch.stack(list(values.values()), dim=-1))


def _alignment(name: str, one: Sequence[Tensor], other: Sequence[Tensor]) -> dict[str, Tensor]:
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
