"""The base class of optimizers for matrices: arguments, checks, and the loop over parameters."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from muonlab.optim import adamw
from muonlab.optim.hyperparameters import check, complete
from muonlab.optim.precision import HALF
from muonlab.optim.routing import RoutingTable, routing_table
from muonlab.optim.sharded import has_whole_matrices, is_sharded


class MatrixOptimizer(Optimizer):
    """An optimizer for matrices (out, in) and stacks of matrices (experts, out, in).

    A subclass is marked `@optimizer`. It defines its settings and `update`, or `update_group` if it
    updates parameters together. A parameter group can have settings of its own, and a group with
    `"optimizer": "adamw"` is updated by AdamW (with `lr`, `betas`, `eps` and `weight_decay`), so
    that one optimizer can train a whole model. Raises TypeError for an unknown argument; ValueError
    for a setting out of range, for a parameter that is not a floating-point matrix or a stack of
    them in a group that is not AdamW's, and for a sparse gradient.
    """

    # Whether weights may be in half precision, and whether they may be sharded over processes.
    HALF_WEIGHTS = True
    SHARDED = False

    def __init__(self, params, lr: float = 1e-3, **settings):
        super().__init__(params, dict(lr=lr) | complete(type(self), settings))

    @property
    def own_name(self) -> str:
        """What groups of matrices have as their "optimizer"."""
        return type(self).__name__.lower()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group; one that is refused leaves the optimizer as it was."""
        before = len(self.param_groups)
        try:
            self._add(param_group)
        except Exception:
            del self.param_groups[before:]
            raise

    def _add(self, param_group: dict[str, Any]) -> None:
        for_adamw = param_group.setdefault("optimizer", self.own_name) == adamw.NAME
        given = set(param_group)
        self._name_parameters(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not group["lr"] >= 0:
            raise ValueError(f"lr: must not be negative, not {group['lr']}")
        group.setdefault("peak_lr", float(group["lr"]))
        if for_adamw:
            for name in set(self.settings) - given:
                del group[name]
            adamw.complete_group(group)
        elif group["optimizer"] != self.own_name:
            known = f"{self.own_name} or {adamw.NAME}"
            raise ValueError(f"optimizer: of a group must be {known}, not {group['optimizer']!r}")
        else:
            self.complete_group(group)

    def _name_parameters(self, group: dict[str, Any]) -> None:
        """Names the parameters of a group without names if those of the other groups have some,
        since torch takes names for all groups or for none."""
        params, place = group["params"], len(self.param_groups)
        if not any("param_names" in other for other in self.param_groups):
            return
        params = [params] if isinstance(params, Tensor) else list(params)
        if not any(isinstance(p, tuple) for p in params):
            named = [(f"group {place}, tensor {i}", p) for i, p in enumerate(params)]
            group["params"] = named

    def complete_group(self, group: dict[str, Any]) -> None:
        """Checks the settings and parameters of a new group of matrices."""
        for name, (kind, _) in self.settings.items():
            check(name, kind, group[name])
        for p in group["params"]:
            check_parameter(type(self).__name__, p, self.HALF_WEIGHTS)
            check_sharding(type(self).__name__, p, self.SHARDED)

    @property
    def matrix_groups(self) -> list[dict[str, Any]]:
        """The parameter groups that are not AdamW's."""
        return [group for group in self.param_groups if group["optimizer"] != adamw.NAME]

    def __repr__(self) -> str:
        """One line for each group, with the settings that are not the defaults."""
        defaults = {name: default for name, (_, default) in self.settings.items()}
        lines = [f"  {describe(group, defaults)}" for group in self.param_groups]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])

    @property
    def routing(self) -> RoutingTable:
        """Which tensor is trained by what, as rows; `print` shows them as a table."""
        return routing_table(self)

    def attach(self, model: nn.Module) -> None:
        """Takes from the model what the optimizer needs besides its matrices and gradients."""

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for place, group in enumerate(self.param_groups):
            if group["optimizer"] == adamw.NAME:
                adamw.update_group(group, self.state)
            else:
                self.update_group(place, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a `state_dict()`. Raises ValueError where its groups are not those of this
        optimizer."""
        given = state_dict["param_groups"]
        found = [group.get("optimizer", self.own_name) for group in given]
        wanted = [group["optimizer"] for group in self.param_groups]
        if found != wanted:
            raise ValueError(
                f"the state's groups are trained by {', '.join(found)}; "
                f"this optimizer's are by {', '.join(wanted)}"
            )
        super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # states of older versions do not have it
            group.setdefault("optimizer", self.own_name)

    def update_group(self, place: int, group: dict) -> None:
        """Updates the parameters that have a gradient in `group`, the group number `place`."""
        for p in group["params"]:
            if p.grad is not None:
                self.check_gradient(p.grad)
                self.update(p, group)

    def update(self, p: Tensor, group: dict) -> None:
        """Updates one parameter by its gradient."""
        raise NotImplementedError

    def check_gradient(self, grad: Tensor) -> None:
        """Raises ValueError for a sparse gradient."""
        if grad.is_sparse:
            name = type(self).__name__
            raise ValueError(f"{name}: a sparse gradient is no matrix; give this to AdamW")


def describe(group: dict[str, Any], defaults: dict[str, Any]) -> str:
    """A parameter group in one line: its name, what trains how much, and its settings."""
    params, title = group["params"], f"{group['name']}: " if "name" in group else ""
    tensors = "1 tensor" if len(params) == 1 else f"{len(params)} tensors"
    entries = sum(p.numel() for p in params)
    text = f"{title}{group['optimizer']}, {tensors}, {entries:,} weights"
    shown = ("lr", "weight_decay", "momentum", "betas", "dtype")
    told = {"params", "param_names", "name", "optimizer", "peak_lr", "initial_lr", "fused"}
    for name, value in group.items():
        if name in shown or (name not in told and value != defaults.get(name)):
            text += f", {name}={value}"
    return text


def check_parameter(optimizer: str, p: Tensor, half: bool = True) -> None:
    """Raises ValueError for anything but a floating-point matrix or stack of matrices.

    `half` says whether the optimizer works on weights in half precision.
    """
    if not half and p.dtype in HALF:
        raise ValueError(f"{optimizer} decomposes matrices: keep its weights in float32")
    if p.ndim not in (2, 3) or not p.is_floating_point():
        raise ValueError(
            f"{optimizer} takes floating-point matrices (out, in) or stacks (experts, out, in), "
            f"not a {p.dtype} parameter of shape {tuple(p.shape)}; give it to AdamW "
            f'(a group with "optimizer": "adamw", or muon_with_adamw for a whole model)'
        )


def check_sharding(optimizer: str, p: Tensor, allowed: bool) -> None:
    """Raises ValueError for a DTensor that the optimizer cannot train."""
    if is_sharded(p) and not allowed:
        raise ValueError(f"{optimizer} does not train sharded parameters (DTensors); Muon does")
    if p.ndim == 3 and not has_whole_matrices(p):
        raise ValueError(
            f"{optimizer} needs a stack of matrices to be sharded along its first dimension, "
            f"not by {p.placements}"
        )
