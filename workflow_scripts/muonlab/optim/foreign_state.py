"""State of other Muon implementations in this package's terms.

All of them keep one "momentum_buffer" of the parameter's shape, M ← μM + (1−μ)G, so the buffers
carry over as they are and what has to be translated are the groups' settings:

* torch.optim.Muon calls the scale `adjust_lr_fn` (None means "original") and has one triple of
  coefficients.
* Keller Jordan's `Muon` always scales as "original", looks ahead (Nesterov) and makes five steps.
  `MuonWithAuxAdam` marks its groups by `use_muon`; it sorts those of Muon by shape, largest first.

Older versions of Jordan's code kept the sum M ← μM + G; multiply their buffers by 1 − μ.
"""

from typing import Any

import torch
from torch import Tensor

JORDAN = {"scale": "original", "nesterov": True, "ns_coefficients": "jordan", "ns_steps": 5}
# A name that only the groups of this package's optimizers have.
OWN = "peak_lr"


def translated(state: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """`state` for an optimizer with these parameter groups; one of our own is returned as it is.

    Settings that the other implementation does not have (the precision of the products, a split)
    keep the values of `groups`. Raises ValueError where groups or shapes do not fit.
    """
    given = state["param_groups"]
    if any(OWN in group for group in given) or not given:
        return state
    if len(given) != len(groups):
        found = f"the state has {len(given)} parameter groups"
        raise ValueError(f"{found}, this optimizer has {len(groups)}")
    found, entries = [], dict(state["state"])
    for theirs, own in zip(given, groups, strict=True):
        places = fitting(theirs["params"], entries, own["params"])
        if own["optimizer"] == "adamw":
            entries |= {place: adam_state(entries[place]) for place in places if place in entries}
        settings = {name: value for name, value in own.items() if name != "params"}
        settings |= own_terms(theirs)
        found.append(settings | {"params": places, OWN: float(theirs["lr"])})
    return {"state": entries, "param_groups": found}


def own_terms(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of another implementation's group, under this package's names."""
    kept = {n: group[n] for n in ("lr", "weight_decay", "initial_lr") if n in group}
    if not group.get("use_muon", True):
        return kept | {"optimizer": "adamw", "betas": tuple(group["betas"]), "eps": group["eps"]}
    kept["momentum"] = group["momentum"]
    if "adjust_lr_fn" not in group:
        return kept | JORDAN
    return kept | {
        "scale": group["adjust_lr_fn"] or "original",
        "nesterov": group["nesterov"],
        "ns_coefficients": [list(group["ns_coefficients"])],
        "ns_steps": group["ns_steps"],
    }


def fitting(places: list[int], entries: dict[int, dict], params: list[Tensor]) -> list[int]:
    """The state's places of a group in the order of `params`: as they are or, if only that fits,
    from the order by shape that Jordan's MuonWithAuxAdam gives to its parameters.

    Raises ValueError where neither fits.
    """
    by_shape = sorted(range(len(params)), key=lambda i: params[i].size(), reverse=True)
    sorted_places = [-1] * len(params)
    if len(places) == len(params):
        for place, i in zip(places, by_shape, strict=True):
            sorted_places[i] = place
        for order in (places, sorted_places):
            if all(fits(entries.get(k, {}), p) for k, p in zip(order, params, strict=True)):
                return list(order)
    raise ValueError("the state's tensors do not have the shapes of this optimizer's parameters")


def fits(entry: dict[str, Any], p: Tensor) -> bool:
    """Whether the tensors of a parameter's state have its shape, single numbers aside."""
    tensors = [t for t in entry.values() if isinstance(t, Tensor) and t.ndim]
    return all(t.shape == p.shape for t in tensors)


def adam_state(entry: dict[str, Any]) -> dict[str, Any]:
    """AdamW's state with the number of steps as a tensor, as torch's own has it."""
    step = entry["step"]
    return entry | {"step": torch.as_tensor(step, dtype=torch.float32)}
