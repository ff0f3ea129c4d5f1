"""From one `optimizer` section of a run's config to optimizers with their routing manifest."""

import torch
from torch import nn

from muonlab.optim.muon import Muon
from muonlab.optim.routing import Route, manifest, wants_muon

MUON_FIELDS = (
    "lr",
    "momentum",
    "nesterov",
    "ns_steps",
    "ns_coefficients",
    "scale",
    "weight_decay",
    "orthogonalize",
)


class OptimizerSet:
    """The optimizers of one run behind the calls of a single one."""

    def __init__(self, model: nn.Module, optimizers: dict[str, torch.optim.Optimizer]):
        self.optimizers = optimizers
        self.routes: list[Route] = manifest(model, optimizers)
        for group in self.groups:
            group["peak_lr"] = group["lr"]

    @property
    def groups(self) -> list[dict]:
        """The parameter groups of all optimizers; loading a state replaces them."""
        return [g for o in self.optimizers.values() for g in o.param_groups]

    def set_lr_factor(self, factor: float) -> None:
        """Sets every group's learning rate to its peak rate times `factor`."""
        for group in self.groups:
            group["lr"] = group["peak_lr"] * factor

    def step(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict:
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state: dict) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


def build_optimizers(model: nn.Module, config: dict) -> OptimizerSet:
    """The optimizers that `config` (an `optimizer` section, with every default filled in) asks for.

    `name: adamw` gives AdamW for all; `name: muon` gives Muon for the matrices of its `components`
    and AdamW, set by its own `adamw` section, for the rest. Raises ValueError for an unknown name
    and where the routing leaves a tensor out.
    """
    if config["name"] == "adamw":
        everything = list(model.named_parameters())
        return OptimizerSet(model, {"adamw": _adamw(everything, config, config["lr"])})
    if config["name"] != "muon":
        raise ValueError(f"optimizer.name: must be adamw or muon, not {config['name']!r}")
    components = model.components()
    muon, rest = [], []
    for name, p in model.named_parameters():
        to_muon = wants_muon(p, components[name], config["components"])
        (muon if to_muon else rest).append((name, p))
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if muon:
        group = {"params": [p for _, p in muon], "name": "matrices"}
        optimizers["muon"] = Muon([group], **{f: config[f] for f in MUON_FIELDS})
    if rest:
        adamw = config["adamw"]
        lr = config["lr"] if adamw["lr"] is None else adamw["lr"]
        optimizers["adamw"] = _adamw(rest, adamw, lr)
    return OptimizerSet(model, optimizers)


def _adamw(named: list[tuple[str, nn.Parameter]], config: dict, lr: float) -> torch.optim.AdamW:
    """torch's AdamW; vectors and scalars are not decayed."""
    decayed = [p for _, p in named if p.ndim >= 2]
    others = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": decayed, "name": "matrices", "weight_decay": config["weight_decay"]},
        {"params": others, "name": "vectors", "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=lr,
        betas=tuple(config["betas"]),
        eps=config["eps"],
        fused=all(p.is_floating_point() for _, p in named),
    )
