"""One optimizer for any model: Muon for its hidden matrices and AdamW for everything else."""

import difflib
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from muonlab.optim import adamw
from muonlab.optim.hyperparameters import refuse_unknown
from muonlab.optim.muon import Muon
from muonlab.optim.roles import EMBEDDING, FOR_MUON, HEAD, VECTOR, Role, roles

Chosen = str | Sequence[str] | Callable[[str, nn.Parameter], bool]
MUON, ADAMW = "muon", adamw.NAME


def muon_with_adamw(
    model: nn.Module,
    lr: float = 1e-3,
    *,
    embedding_lr_ratio: float = 1.0,
    head_lr_ratio: float = 1.0,
    vector_lr_ratio: float = 1.0,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    use_muon: Chosen = (),
    use_adamw: Chosen = (),
    compile: bool | dict[str, Any] = False,
    **settings: Any,
) -> Muon:
    """An optimizer of all parameters of `model` that require a gradient.

    Muon trains hidden matrices (out, in), fused ones cut into their blocks, and stacks of matrices
    (experts, out, in). AdamW (`betas`, `eps`) trains the rest: embeddings, the output head,
    convolutions, and vectors (biases, gains of norms), which are not decayed. `print(optimizer.
    routing)` shows who trains what; `roles.roles` says how that is decided.

    `use_muon` and `use_adamw` correct it: names, shell patterns ("decoder.*.weight"), or a
    predicate of a parameter's name and the parameter. `lr` is for all tensors, since the default
    `scale` gives Muon's updates the size of AdamW's; embeddings, head and vectors have `lr` times
    `embedding_lr_ratio`, `head_lr_ratio` and `vector_lr_ratio`. `settings` are those of `Muon`
    (momentum, nesterov, ns_steps, ns_coefficients, scale, dtype, ...).

    The result is one `torch.optim.Optimizer` with a group for each role and optimizer, whose names
    are in the groups' "name" and "optimizer". A scheduler that cycles the momentum (OneCycleLR,
    CyclicLR) cycles Muon's momentum and AdamW's first beta.

    Raises TypeError for an unknown argument; ValueError for a setting out of range, a name or
    pattern that no parameter has, a tensor that both are to train or that Muon cannot train, and
    for a model without anything for Muon.
    """
    refuse_unknown("muon_with_adamw", settings, ["lr", *ARGUMENTS, *Muon.settings])
    if "split" in settings:
        raise TypeError(
            "muon_with_adamw has no argument split: fused weights of torch's modules are cut by "
            'themselves; a parameter group can have its own "split"'
        )
    ratios = {EMBEDDING: embedding_lr_ratio, HEAD: head_lr_ratio, VECTOR: vector_lr_ratio}
    found = roles(model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    choice = route(trained, found, use_muon, use_adamw)
    if MUON not in choice.values():
        raise ValueError(
            "muon_with_adamw: the model has no hidden matrix, so there is nothing for Muon; "
            "use_muon can name other matrices, and torch.optim.AdamW trains the model as it is"
        )
    groups = []
    for (which, role), members in grouped(trained, found, choice).items():
        group: dict[str, Any] = {"params": members, "name": role.name, "optimizer": which}
        group["lr"] = lr * ratios.get(role.name, 1.0)
        group["weight_decay"] = 0.0 if role.name == VECTOR else weight_decay
        if which == ADAMW:
            group |= {"betas": tuple(betas), "eps": eps}
        elif role.parts:
            group["split"] = role.parts
        groups.append(group)
    optimizer = Muon(groups, lr, compile=compile, weight_decay=weight_decay, **settings)
    optimizer.attach(model)
    return optimizer


ARGUMENTS = tuple(muon_with_adamw.__kwdefaults__)


def route(
    trained: dict[str, nn.Parameter], found: dict[str, Role], use_muon: Chosen, use_adamw: Chosen
) -> dict[str, str]:
    """Which optimizer trains each tensor, by its name."""
    forced = chosen("use_muon", use_muon, trained), chosen("use_adamw", use_adamw, trained)
    both = sorted(forced[0] & forced[1])
    if both:
        raise ValueError(f"use_muon and use_adamw: both name {', '.join(both)}")
    for name in sorted(forced[0]):
        if found[name].name not in (*FOR_MUON, EMBEDDING, HEAD) or trained[name].ndim > 3:
            shape = "x".join(map(str, trained[name].shape))
            raise ValueError(
                f"use_muon: {name} ({shape}, one of the {found[name].name}) is no matrix and no "
                f"stack of matrices, so Muon cannot train it"
            )
    by_role = {name: MUON if found[name].name in FOR_MUON else ADAMW for name in trained}
    return by_role | dict.fromkeys(forced[0], MUON) | dict.fromkeys(forced[1], ADAMW)


def grouped(
    trained: dict[str, nn.Parameter], found: dict[str, Role], choice: dict[str, str]
) -> dict[tuple[str, Role], list[tuple[str, nn.Parameter]]]:
    """The named parameters of each optimizer and role, those that Muon trains first."""
    groups: dict[tuple[str, Role], list[tuple[str, nn.Parameter]]] = {}
    for which in (MUON, ADAMW):
        for name, p in trained.items():
            if choice[name] == which:
                # How a weight is cut is a matter of Muon's alone.
                role = found[name] if which == MUON else Role(found[name].name)
                groups.setdefault((which, role), []).append((name, p))
    return groups


def chosen(argument: str, choice: Chosen, trained: dict[str, nn.Parameter]) -> set[str]:
    """The names that `choice` means. Raises ValueError for one that no parameter has."""
    if callable(choice):
        return {name for name, p in trained.items() if choice(name, p)}
    names: set[str] = set()
    for pattern in [choice] if isinstance(choice, str) else choice:
        matching = fnmatch.filter(trained, pattern)
        if not matching:
            near = difflib.get_close_matches(pattern, trained, n=1, cutoff=0.0)
            raise ValueError(
                f"{argument}: no trained parameter of the model is called {pattern!r}"
                + (f"; the nearest is {near[0]}" if near else "")
            )
        names |= set(matching)
    return names
