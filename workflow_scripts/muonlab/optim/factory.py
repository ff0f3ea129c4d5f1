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
from muonlab.optim.routing import Route, group_name, manifest, wants_muon


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
    `split.blocks` describes). AdamW, with the settings in the section `adamw`, gets the rest. The
    peak rate of a tensor is `lr` or, for embedding, head and vectors, `lr` times `embedding_ratio`,
    `head_ratio` or `vector_ratio`, whichever optimizer trains it.

    Raises ValueError for an unknown name, and if no matrix matches or a tensor has no optimizer.
    """
    name = config["name"]
    cls = optimizer_class(name)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    components = model.components()
    rates = Rates(config)
    if not issubclass(cls, MatrixOptimizer):
        return OptimizerSet(model, {name: for_every_tensor(cls, named, config, components, rates)})
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
    groups = matrix_groups(matrices, components, settings.pop("split", None) or {}, rates)
    optimizers = {name: cls(groups, lr=config["lr"], **settings)}
    optimizers[name].attach(model)
    if rest:
        optimizers["adamw"] = for_every_tensor(AdamW, rest, config["adamw"], components, rates)
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


class Rates:
    """The peak learning rate of each group of tensors, from an `optimizer` section."""

    def __init__(self, config: dict):
        self.lr = config["lr"]
        self.ratios = {
            group: config.get(f"{name}_ratio", 1.0)
            for group, name in (("embedding", "embedding"), ("head", "head"), ("vectors", "vector"))
        }

    def of(self, group: str) -> float:
        return self.lr * self.ratios.get(group, 1.0)

    def group(self, p: nn.Parameter, component: str) -> str:
        """The tensor's group. Matrices whose rate is that of all others are in their group, since
        an optimizer updates the tensors of a group together."""
        name = group_name(p, component)
        return name if name == "vectors" or self.ratios.get(name, 1.0) != 1.0 else "matrices"


def for_every_tensor(
    cls: type, named: list[tuple[str, nn.Parameter]], section: dict, components: dict, rates: Rates
) -> torch.optim.Optimizer:
    """An optimizer for tensors of any shape; those of one dimension are not decayed."""
    settings = own_settings(cls, section)
    decay = settings.get("weight_decay", cls.settings["weight_decay"][1])
    groups: dict[str, dict] = {}
    for tensor, p in named:
        name = rates.group(p, components[tensor])
        own = {"weight_decay": 0.0 if name == "vectors" else decay, "lr": rates.of(name)}
        groups.setdefault(name, {"params": [], "name": name, **own})["params"].append(p)
    return cls(list(groups.values()), lr=rates.lr, **settings)


def matrix_groups(
    named: list[tuple[str, nn.Parameter]], components: dict, split: dict, rates: Rates
) -> list[dict]:
    """One group of all matrices of one rate, and one more for each component that is split.

    Raises ValueError for a split of a component that the model does not have.
    """
    for part in split:
        if part not in components.values():
            known = ", ".join(sorted(set(components.values())))
            raise ValueError(f"optimizer.split: the model has no component {part!r}, only {known}")
    groups: dict[str, dict] = {}
    for tensor, p in named:
        rate = rates.group(p, components[tensor])
        part = components[tensor] if components[tensor] in split else rate
        group = groups.setdefault(part, {"params": [], "name": part, "lr": rates.of(rate)})
        group["params"].append(p)
        if part in split:
            group["split"] = split[part]
    return list(groups.values())
