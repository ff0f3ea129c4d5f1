"""Rotary position embedding, Su et al., RoFormer (arXiv 2104.09864).

Features 2i and 2i + 1 of a head are taken as the real and imaginary part of a complex number, which
is rotated by the angle p · base^(−2i/d) at position p. The product of a query with a key then
depends on their positions only through the difference.
"""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def rotation_table(length: int, size: int, base: float, device: str, dtype: torch.dtype) -> Tensor:
    """(length, size / 2) complex: exp(i · position · frequency); dtype complex64 or complex128.

    It is computed in float64, because angles in float32 have errors of 1e-3 at position 10,000.
    """
    frequency = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    return torch.polar(torch.ones_like(angle), angle).to(dtype).to(device)


def rotate(x: Tensor, base: float) -> Tensor:
    """Rotates x (b, t, heads, d), d even, by its positions 0 … t − 1; keeps shape and dtype.

    The computation uses at least float32, because bfloat16 cannot distinguish neighbouring angles.
    It is one complex product. torch.compile does not support complex numbers, so under it the same
    product is computed with real numbers.
    """
    length, size = x.shape[1], x.shape[3]
    wide = x if x.dtype == torch.float64 else x.float()
    dtype = torch.complex128 if x.dtype == torch.float64 else torch.complex64
    pairs = wide.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # the compiler ignores the cache and would warn about it
        table = rotation_table.__wrapped__(length, size, base, str(x.device), dtype)
        turned = _real_product(pairs, torch.view_as_real(table)[:, None])
    else:
        table = rotation_table(length, size, base, str(x.device), dtype)
        turned = torch.view_as_real(torch.view_as_complex(pairs) * table[:, None])  # (t, 1, d / 2)
    return turned.flatten(-2).type_as(x)


def _real_product(a: Tensor, b: Tensor) -> Tensor:
    """The complex product of two (…, 2) tensors of real and imaginary parts."""
    (a_re, a_im), (b_re, b_im) = a.unbind(-1), b.unbind(-1)
    return torch.stack((a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re), -1)
