"""Which tensor is trained by which optimizer, and the manifest that proves it.

A model says what each of its tensors is (`components(): name -> component`); the optimizer's
config says which components Muon may have. Only matrices and stacks of matrices can go to Muon;
everything else goes to AdamW, tensors of one dimension without weight decay.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Route:
    """One row of the routing manifest; `lr` is the peak rate."""

    tensor: str
    shape: str
    component: str
    optimizer: str
    group: str
    lr: float
    weight_decay: float


def group_name(tensor: Tensor, component: str) -> str:
    """The group whose learning rate the tensor has: vectors, embedding, head or matrices.

    The first matrix of a perceptron counts as its embedding and the last one as its head.
    """
    if tensor.ndim < 2:
        return "vectors"
    if component in ("embedding", "input"):
        return "embedding"
    return "head" if component in ("head", "output") else "matrices"


def wants_muon(tensor: Tensor, component: str, components: Iterable[str]) -> bool:
    """Whether Muon takes this tensor: a matrix (or stack) of one of the named components."""
    return tensor.ndim in (2, 3) and component in components


def manifest(model: nn.Module, optimizer: Optimizer) -> list[Route]:
    """A row for each trained tensor, read back from the optimizer's groups, which say in
    "optimizer" what trains them.

    Raises ValueError when a trained tensor is in no group, or in more than one.
    """
    holders: dict[int, list[dict]] = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            holders.setdefault(id(p), []).append(group)
    components = model.components()
    rows = []
    for tensor, p in model.named_parameters():
        if not p.requires_grad:
            continue
        held = holders.get(id(p), [])
        if len(held) != 1:
            count = "no optimizer" if not held else f"{len(held)} optimizer groups"
            raise ValueError(f"routing: the trained tensor {tensor} has {count}; it needs just one")
        rows.append(route(tensor, p, components[tensor], held[0]))
    return rows


def route(tensor: str, p: Tensor, component: str, group: dict) -> Route:
    """The row of a tensor of that name in a parameter group."""
    return Route(
        tensor=tensor,
        shape="x".join(map(str, p.shape)),
        component=component,
        optimizer=group["optimizer"],
        group=group["name"],
        lr=float(group.get("peak_lr", group["lr"])),
        weight_decay=float(group["weight_decay"]),
    )


class RoutingTable(list[Route]):
    """Rows that `print` shows as a table with one line for each tensor."""

    COLUMNS = ("tensor", "shape", "optimizer", "group", "lr", "weight_decay")

    def __str__(self) -> str:
        cells = [self.COLUMNS] + [tuple(map(_cell, self._values(row))) for row in self]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)
        return "\n".join(lines).replace("weight_decay", "weight decay", 1)

    __repr__ = __str__

    def _values(self, row: Route) -> Iterator[str | float]:
        return (getattr(row, column) for column in self.COLUMNS)


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def routing_table(optimizer: Optimizer) -> RoutingTable:
    """The rows of an optimizer's groups. Without names of parameters and groups, which
    `muon_with_adamw` gives, their places stand for them."""
    rows = RoutingTable()
    for place, group in enumerate(optimizer.param_groups):
        name = group.get("name", f"group {place}")
        unnamed = [f"group {place}, tensor {i}" for i in range(len(group["params"]))]
        names = group.get("param_names", unnamed)
        for tensor, p in zip(names, group["params"], strict=True):
            rows.append(route(tensor, p, name, group | {"name": name}))
    return rows


def freeze(model: nn.Module, components: Iterable[str]) -> None:
    """Stops the training of all matrices of the named components, which keep their values.

    Raises ValueError if the model has none of them.
    """
    if not components:
        return
    of = model.components()
    still = [p for name, p in model.named_parameters() if of[name] in components]
    if not still:
        asked, known = ", ".join(components), ", ".join(sorted(set(of.values())))
        raise ValueError(f"training.frozen: the model has none of {asked}; it has {known}")
    for p in still:
        p.requires_grad_(False)


def as_records(rows: list[Route]) -> list[dict]:
    """The manifest as plain dictionaries."""
    return [asdict(row) for row in rows]


class MovementCheck:
    """Fails when a tensor that got a gradient has not moved since this check was made.

    A tensor that no optimizer trains causes no error. Such silent misrouting has invalidated
    published comparisons, so every run checks once, after its first updates.
    """

    def __init__(self, model: nn.Module):
        self.before = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.had_gradient: set[str] = set()

    def observe(self, model: nn.Module) -> None:
        """Records which tensors have a non-zero gradient; call it after each backward pass."""
        for name, p in model.named_parameters():
            if p.grad is not None and bool(p.grad.ne(0).any()):
                self.had_gradient.add(name)

    def verify(self, model: nn.Module) -> None:
        """Raises RuntimeError naming each tensor that had a gradient and is unchanged."""
        still = [
            name
            for name, p in model.named_parameters()
            if name in self.had_gradient and torch.equal(p.detach(), self.before[name])
        ]
        if still:
            raise RuntimeError(
                f"routing: {', '.join(still)} got a gradient and did not move in the first updates"
            )
