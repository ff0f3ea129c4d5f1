"""Rotary position embedding, Su et al., RoFormer (arXiv 2104.09864).

Features 2i and 2i + 1 of a head are taken as the real and imaginary part of a complex number, which
is rotated by the angle p · base^(−2i/d) at position p. The product of a query with a key then
depends on their positions only through the difference.
"""

from functools import lru_cache

import torch
from torch import Tensor


def rotation(length: int, size: int, base: float, like: Tensor) -> Tensor:
    """(length, size / 2, 2): cosine and sine of position · frequency, on the device of `like`, in
    float64 if `like` is float64 and in float32 otherwise."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return _constant(length, size, base, like.device, dtype)


@torch.compiler.assume_constant_result
def _constant(*of) -> Tensor:
    """The table as a constant of a compiled model, which would otherwise compute the sines again,
    in float64, for every head of every layer."""
    return _table(*of)


@lru_cache(maxsize=32)
def _table(length: int, size: int, base: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Computed in float64, because angles in float32 have errors of 1e-3 at position 10,000."""
    positions = torch.arange(length, dtype=torch.float64, device=device)
    frequency = base ** (-torch.arange(0, size, 2, dtype=torch.float64, device=device) / size)
    angle = torch.outer(positions, frequency)
    return torch.stack((angle.cos(), angle.sin()), -1).to(dtype)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotates x (b, t, heads, d), d even, by its positions 0 … t − 1; keeps shape and dtype.

    `table` is the `rotation` (t, d / 2, 2). The computation uses at least float32, because bfloat16
    cannot distinguish neighbouring angles. It is one complex product. torch.compile does not
    support complex numbers, so under it the same product is computed with real numbers.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    pairs = wide.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        turned = _real_product(pairs, table[:, None])
    else:
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(table)[:, None]
        turned = torch.view_as_real(turned)
    return turned.flatten(-2).type_as(x)


def _real_product(a: Tensor, b: Tensor) -> Tensor:
    """The complex product of two (…, 2) tensors of real and imaginary parts.

    Both parts come from one formula, a · re b ∓ (a with its parts exchanged) · im b, since a result
    that is put together from two halves is read and written with gaps.
    """
    re, im = b[..., :1], b[..., 1:]
    sign = 2 * torch.arange(2, device=a.device, dtype=a.dtype) - 1
    return a * re + a.flip(-1) * (sign * im)
