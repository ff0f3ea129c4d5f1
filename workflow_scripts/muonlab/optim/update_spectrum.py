"""Updates with the momentum's singular vectors and singular values of another shape.

With the momentum U·diag(s)·Vᵀ the update is U·diag(f)·Vᵀ: f = s^p for a number p, which is the
polar factor for p = 0 and the momentum itself, but for its size, for p = 1; or f drawn at random,
as |N(0, 1)|. Every f is scaled to the norm √rank that the singular values of the polar factor have,
so updates differ in the shape of their spectrum and not in their size. Whether that shape matters
is the question of arXiv 2605.11181.

Only directions with s > max(m, n)·ε·s₁ are kept (ε is the rounding of float32, of float64 for
float64 matrices): below that, singular values are rounding errors, which a negative power would
turn into the largest part of the update. The others get 0, whatever the power.
"""

import ctypes
import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from muonlab.streams import torch_generator

RANDOM = "random"


def with_spectrum(G: Tensor, spectrum: float | str, drawn: Tensor | None = None) -> Tensor:
    """U·diag(f)·Vᵀ of each matrix of G (…, m, n), in G's shape and dtype; see the module.

    `spectrum` is the power p, or "random"; `drawn` (…, min(m, n)) are then numbers whose absolute
    values become the singular values. A zero matrix gives zero. A value that is not finite gives
    NaN in its own matrix alone. The decomposition is made in float64.
    """
    finite = torch.isfinite(G).all(-1, keepdim=True).all(-2, keepdim=True)
    left, sigma, right = torch.linalg.svd(G.where(finite, 0).double(), full_matrices=False)
    rounding = torch.finfo(torch.promote_types(G.dtype, torch.float32)).eps * max(G.shape[-2:])
    kept = sigma > sigma[..., :1] * rounding
    if spectrum == RANDOM:
        values = drawn.to(sigma).abs()
    else:
        values = (sigma / sigma[..., :1]).where(kept, 1) ** spectrum
    values = values.where(kept, 0)
    norm = values.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    values = values * (kept.sum(-1, keepdim=True).sqrt() / norm)
    update = (left * values.unsqueeze(-2)) @ right
    return update.where(finite, torch.nan).to(G.dtype)


def new_stream(named: Iterable[tuple[str, Tensor]], params: Sequence[Tensor]) -> dict:
    """The random stream of a parameter group, as plain values that a checkpoint can hold.

    `named` are the model's parameters as they begin. Their values follow from the run's seed and
    stand for it here: paired runs share them, and runs of two seeds do not.
    """
    named = list(named)
    digest = hashlib.sha256()
    for name, p in named:
        digest.update(name.encode())
        values = p.detach().cpu().contiguous()
        digest.update(ctypes.string_at(values.data_ptr(), values.nbytes))
    names = {id(p): name for name, p in named}
    key = int.from_bytes(digest.digest()[:8], "little") >> 1
    return {"key": key, "updates": 0, "names": [names[id(p)] for p in params]}


def advanced(group: dict) -> dict:
    """The group's stream at its next update. It is a new dictionary, since state dicts hold the old
    one. Without a model, parameters are named by their place in the group."""
    stream = group.get("spectrum_stream")
    if stream is None:
        stream = new_stream([(str(i), p) for i, p in enumerate(group["params"])], group["params"])
    return stream | {"updates": stream["updates"] + 1}


def draw(stream: dict, members: Sequence[tuple[int, int | None]], part: int, like: Tensor):
    """|N(0, 1)| for `like` (k, m, n), which holds equally many matrices of each member: (k, r).

    A member is a parameter's place in its group and one of its experts, or None for all. Each has
    a generator of its own, keyed by the run, the parameter's name, the update and the `part` of a
    split parameter, so a draw depends neither on other parameters nor on what was drawn before.
    """
    shape = like.size(0) // len(members), min(like.shape[-2:])
    values = []
    for place, expert in members:
        names = stream["names"][place], "all" if expert is None else expert
        place = "update_spectrum", *names, stream["updates"], part
        generator = torch_generator(stream["key"], *place)
        values.append(torch.randn(shape, generator=generator, dtype=torch.float64).abs())
    return torch.cat(values).to(like.device)
