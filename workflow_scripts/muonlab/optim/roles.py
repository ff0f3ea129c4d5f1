"""What each tensor of any model is: which of them Muon should train, and which have other rates.

The roles follow from the modules that hold a tensor and, for bare parameters, from its shape and
name. They are a proposal: `muon_with_adamw` prints them and takes corrections.
"""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

MATRIX, FUSED, STACK = "matrices", "fused", "stacks"
EMBEDDING, HEAD, VECTOR = "embedding", "head", "vectors"
CONVOLUTION, OTHER = "convolutions", "others"
# Roles of tensors that Muon trains unless it is told otherwise.
FOR_MUON = (MATRIX, FUSED, STACK)

# Words in the name of a bare parameter that make it an embedding, as in `pos_embedding`.
EMBEDDING_WORDS = {"emb", "embed", "embedding", "embeddings", "pos", "position", "token", "tokens"}
EMBEDDING_WORDS |= {"wte", "wpe", "cls"}
# Recurrent layers hold the matrices of their gates in one weight.
GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}


class Role(NamedTuple):
    """A tensor's role, and into how many equal blocks of rows Muon has to cut it."""

    name: str
    parts: int | None = None


class Owner(NamedTuple):
    """A module that holds a tensor, and the tensor's name in it."""

    module: nn.Module
    path: str
    name: str


def roles(model: nn.Module) -> dict[str, Role]:
    """The role of each parameter, frozen ones included, by its name in `named_parameters()`.

    A tensor that several modules share has the first role that one of them gives it: embedding,
    then head. The head is the last linear layer that is in no list of layers (nn.ModuleList,
    nn.ModuleDict); a model that consists of such lists has none.
    """
    owners: dict[int, list[Owner]] = {}
    for path, module in model.named_modules():
        for name, p in module.named_parameters(recurse=False):
            owners.setdefault(id(p), []).append(Owner(module, path, name))
    head = head_of(model)
    return {name: _role(p, owners[id(p)], head) for name, p in model.named_parameters()}


def head_of(model: nn.Module) -> nn.Module | None:
    """The linear layer that counts as output head, if there is one; see `roles`."""
    head = None
    inner: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.ModuleDict | nn.MultiheadAttention):
            inner |= {id(m) for m in module.modules()}
        if isinstance(module, nn.Linear) and id(module) not in inner:
            head = module
    return head


def _role(p: Tensor, owners: Iterable[Owner], head: nn.Module | None) -> Role:
    modules = [owner.module for owner in owners]
    name = next(owner.name for owner in owners)
    if any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in modules):
        return Role(EMBEDDING)
    if sum(side > 1 for side in p.shape) < 2 or not p.is_floating_point():
        return Role(VECTOR)
    if any(isinstance(m, _ConvNd) for m in modules):
        return Role(CONVOLUTION)
    if any(m is head for m in modules):
        return Role(HEAD)
    if any(isinstance(m, nn.MultiheadAttention) for m in modules) and name == "in_proj_weight":
        return Role(FUSED, 3)
    for module in modules:
        parts = next((GATES[c.__name__] for c in type(module).__mro__ if c.__name__ in GATES), 0)
        if parts and name.startswith(("weight_ih", "weight_hh")):
            return Role(FUSED, parts)
    if EMBEDDING_WORDS & set(name.lower().split("_")):
        return Role(EMBEDDING)
    if p.ndim == 2:
        return Role(MATRIX)
    bilinear = any(isinstance(m, nn.Bilinear) for m in modules)
    stacked = p.ndim == 3 and min(p.shape) > 1 and not bilinear
    return Role(STACK if stacked else OTHER)
