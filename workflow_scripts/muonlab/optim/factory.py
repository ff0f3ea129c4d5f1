"""From one `optimizer` section of a run's config to an optimizer with its routing manifest.

The section's `name` is that of a module of this package with a class marked `@optimizer`. Only that
module is imported, so that a run depends on the code of its own optimizer and of AdamW alone.
"""

from importlib import import_module
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from muonlab.optim import adamw
from muonlab.optim.matrix_optimizer import MatrixOptimizer
from muonlab.optim.routing import group_name, manifest, wants_muon


def build_optimizer(model: nn.Module, config: dict) -> Optimizer:
    """The optimizer that `config`, a plain `optimizer` section, describes.

    `name` and `lr` are required; other settings default to the optimizer's own. An optimizer for
    matrices gets the matrices of `components` (and, with `split: {component: parts}`, cuts them as
    `split.blocks` describes) in its own groups. The rest is in groups that AdamW updates, with the
    settings in the section `adamw`. The peak rate of a tensor is `lr` or, for embedding, head and
    vectors, `lr` times `embedding_ratio`, `head_ratio` or `vector_ratio`, whichever optimizer
    trains it. Every group has its "name", its "peak_lr" and, in "optimizer", what updates it.

    Raises ValueError for an unknown name, and if no matrix matches or a tensor is in no group.
    """
    name = config["name"]
    cls = optimizer_class(name)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    components = model.components()
    rates = Rates(config)
    if issubclass(cls, MatrixOptimizer):
        optimizer = for_matrices(cls, named, config, components, rates)
        optimizer.attach(model)
    else:
        groups = groups_of_all_shapes(cls, name, named, config, components, rates)
        optimizer = cls(groups, lr=config["lr"], **own_settings(cls, config))
    manifest(model, optimizer)  # refuses a tensor that is in no group
    return optimizer


def for_matrices(
    cls: type[MatrixOptimizer], named: list, config: dict, components: dict, rates: "Rates"
) -> MatrixOptimizer:
    """An optimizer for the matrices of the section's components, with AdamW for the rest."""
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
    if rest:
        section = config["adamw"]
        groups += groups_of_all_shapes(adamw.AdamW, adamw.NAME, rest, section, components, rates)
    return cls(groups, lr=config["lr"], **settings)


def set_lr_factor(optimizer: Optimizer, factor: float) -> None:
    """Sets every group's learning rate to its peak rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def optimizer_class(name: str) -> type[Optimizer]:
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


def groups_of_all_shapes(
    cls: type,
    name: str,
    named: list[tuple[str, nn.Parameter]],
    section: dict,
    components: dict,
    rates: Rates,
) -> list[dict]:
    """Groups of tensors of any shape; those of one dimension are not decayed."""
    settings = own_settings(cls, section)
    if cls is adamw.AdamW:
        settings = adamw.group_settings(settings)
    decay = settings.pop("weight_decay", cls.settings["weight_decay"][1])
    groups: dict[str, dict] = {}
    for tensor, p in named:
        group = rates.group(p, components[tensor])
        own = {"weight_decay": 0.0 if group == "vectors" else decay, "lr": rates.of(group)}
        own |= {"name": group, "optimizer": name, "peak_lr": rates.of(group)}
        groups.setdefault(group, {"params": [], **settings, **own})["params"].append(p)
    return list(groups.values())


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
