"""From one `optimizer` section of a run's config to optimizers with their routing manifest.

The section's `name` is that of a module of this package with a class marked `@optimizer`. Only that
module is imported, so that a run depends on the code of its own optimizer and of AdamW alone.
"""

from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from muonlab.optim.adamw import AdamW
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.routing import Route, manifest, wants_muon


class OptimizerSet:
    """The optimizers of one run, with the methods of a single one."""

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
    """The optimizers that `config`, a plain `optimizer` section, describes.

    `name` and `lr` are required; other settings default to the optimizer's own. An optimizer for
    matrices gets the matrices of `components` (and, with `split: {component: parts}`, cuts them as
    `split.blocks` describes). AdamW, with the settings in the section `adamw`, gets the rest.

    Raises ValueError for an unknown name, and if no matrix matches or a tensor has no optimizer.
    """
    name = config["name"]
    cls = optimizer_class(name)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not issubclass(cls, MatrixOptimizer):
        return OptimizerSet(model, {name: for_every_tensor(cls, named, config, config["lr"])})
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
    settings = own_settings(cls, config)
    groups = matrix_groups(matrices, components, settings.pop("split", None) or {})
    optimizers = {name: cls(groups, lr=config["lr"], **settings)}
    optimizers[name].attach(model)
    if rest:
        lr = config["adamw"].get("lr")
        lr = config["lr"] if lr is None else lr
        optimizers["adamw"] = for_every_tensor(AdamW, rest, config["adamw"], lr)
    return OptimizerSet(model, optimizers)


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of that name in a config. Raises ValueError where there is none."""
    here = Path(__file__).parent.glob("*.py")
    known = sorted(path.stem for path in here if "\n@optimizer\n" in path.read_text("utf-8"))
    if name not in known:
        raise ValueError(f"optimizer.name: must be one of {', '.join(known)}, not {name!r}")
    module = import_module(f"muonlab.optim.{name}")
    own = (value for value in vars(module).values() if hasattr(value, "settings"))
    return next(cls for cls in own if cls.__module__ == module.__name__)


def own_settings(cls: type, section: dict) -> dict:
    """The optimizer's own settings that the section gives."""
    return {name: section[name] for name in cls.settings if name in section}


def for_every_tensor(
    cls: type, named: list[tuple[str, nn.Parameter]], section: dict, lr: float
) -> torch.optim.Optimizer:
    """An optimizer for tensors of any shape; those of one dimension are not decayed."""
    settings = own_settings(cls, section)
    decay = settings.get("weight_decay", cls.settings["weight_decay"][1])
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "name": "matrices", "weight_decay": decay},
        {"params": [p for _, p in named if p.ndim < 2], "name": "vectors", "weight_decay": 0.0},
    ]
    return cls([group for group in groups if group["params"]], lr=lr, **settings)


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
