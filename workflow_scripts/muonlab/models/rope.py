"""Rotary position embedding, Su et al., RoFormer (arXiv 2104.09864).

Features 2i and 2i + 1 of a head are the real and imaginary part of one number, which position p
turns by the angle p · base^(−2i/d). A query's product with a key then depends on the difference of
their positions alone.
"""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def rotation_table(length: int, size: int, base: float, device: str, dtype: torch.dtype) -> Tensor:
    """(length, size / 2) complex: exp(i · position · frequency); dtype complex64 or complex128.

    Computed in float64, since float32 angles at position 10,000 are off by 1e-3.
    """
    frequency = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)
    return torch.polar(torch.ones_like(angle), angle).to(dtype).to(device)


def rotate(x: Tensor, base: float) -> Tensor:
    """x: (b, t, heads, d), d even, at positions 0 … t − 1, rotated along t; same shape and dtype.

    At least float32 inside: bfloat16 cannot tell neighbouring angles apart. One complex product;
    the compiler has no code for complex numbers and gets the same product in real ones.
    """
    length, size = x.shape[1], x.shape[3]
    wide = x if x.dtype == torch.float64 else x.float()
    dtype = torch.complex128 if x.dtype == torch.float64 else torch.complex64
    pairs = wide.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which sees through the cache, and warns of it
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
