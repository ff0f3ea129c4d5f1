"""From one `optimizer` section of a run's config to optimizers with their routing manifest.

Adding an optimizer is one new module, with its class and its `DEFAULTS`, and one line in REGISTRY.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from muonlab.optim import adamuon, adamw, dion, muon, muonclip, normuon, sgd, soap, spectral
from muonlab.optim.routing import Route, manifest, wants_muon


class Entry(NamedTuple):
    """A class, the config fields it takes beside lr, and whether it is for matrices alone."""

    make: Callable[..., torch.optim.Optimizer]
    defaults: dict
    matrices_only: bool = True


REGISTRY: dict[str, Entry] = {
    "adamw": Entry(adamw.make, adamw.DEFAULTS, matrices_only=False),
    "sgd": Entry(sgd.make, sgd.DEFAULTS, matrices_only=False),
    "muon": Entry(muon.Muon, muon.DEFAULTS),
    "normuon": Entry(normuon.NorMuon, normuon.DEFAULTS),
    "adamuon": Entry(adamuon.AdaMuon, adamuon.DEFAULTS),
    "muonclip": Entry(muonclip.MuonClip, muonclip.DEFAULTS),
    "spectral": Entry(spectral.SpectralDescent, spectral.DEFAULTS),
    "dion": Entry(dion.Dion, dion.DEFAULTS),
    "soap": Entry(soap.SOAP, soap.DEFAULTS),
}


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
        """Raises ValueError when the state is not that of these optimizers."""
        if set(state) != set(self.optimizers):
            raise ValueError(
                f"checkpoint: holds the optimizers {', '.join(sorted(state))}, "
                f"the run has {', '.join(sorted(self.optimizers))}"
            )
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])


def build_optimizers(model: nn.Module, config: dict) -> OptimizerSet:
    """The optimizers that `config`, a plain `optimizer` section, asks for.

    `name` is one of REGISTRY; `lr` is needed, the other fields of that entry default to its
    DEFAULTS. An optimizer for matrices gets those of `components` (and, with `split: {component:
    parts}`, cuts them as `split.blocks` says), AdamW, set by the section `adamw`, the rest.

    Raises ValueError for an unknown name and where no matrix or not every tensor is routed.
    """
    name = config["name"]
    if name not in REGISTRY:
        raise ValueError(f"optimizer.name: must be one of {', '.join(REGISTRY)}, not {name!r}")
    entry = REGISTRY[name]
    fields = {field: config.get(field, default) for field, default in entry.defaults.items()}
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not entry.matrices_only:
        return OptimizerSet(model, {name: entry.make(named, config["lr"], **fields)})
    components = model.components()
    matrices, rest = [], []
    for tensor, p in named:
        mine = wants_muon(p, components[tensor], config["components"])
        (matrices if mine else rest).append((tensor, p))
    if not matrices:
        asked, known = ", ".join(config["components"]), ", ".join(sorted(set(components.values())))
        raise ValueError(
            f"optimizer.components: no matrix of the model is one of {asked}; it has {known}"
        )
    groups = matrix_groups(matrices, components, fields.pop("split", None) or {})
    optimizers = {name: entry.make(groups, lr=config["lr"], **fields)}
    if rest:
        section = adamw.DEFAULTS | config["adamw"]
        lr = section.pop("lr", None)
        optimizers["adamw"] = adamw.make(rest, config["lr"] if lr is None else lr, **section)
    if name == "muonclip":
        optimizers[name].targets = clip_targets(model)
    return OptimizerSet(model, optimizers)


def matrix_groups(named: list[tuple[str, nn.Parameter]], components: dict, split: dict):
    """One group of all matrices, and one more for each component that is split.

    Raises ValueError for a split of a component that the model does not have.
    """
    for part in split:
        if part not in components.values():
            known = ", ".join(sorted(set(components.values())))
            raise ValueError(f"optimizer.split: the model has no component {part!r}, only {known}")
    groups: dict[str, dict] = {}
    for tensor, p in named:
        part = components[tensor] if components[tensor] in split else "matrices"
        group = groups.setdefault(part, {"params": [], "name": part})
        group["params"].append(p)
        if part in split:
            group["split"] = split[part]
    return list(groups.values())


def clip_targets(model: nn.Module) -> Callable:
    """The model's `qk_clip_targets`, told by `track_logits` to keep each head's largest logit.

    Raises ValueError for a model without attention logits.
    """
    if not hasattr(model, "qk_clip_targets"):
        raise ValueError(
            "optimizer.name: muonclip needs a model with attention (its `qk_clip_targets` gives "
            "query and key weights with their largest logits)"
        )
    if hasattr(model, "track_logits"):
        model.track_logits = True  # the model looks for the largest ones only when asked to
    return model.qk_clip_targets
