"""Weight-only, post-training, symmetric round-to-nearest quantization, simulated in floating point.

With b bits a weight becomes one of the 2L + 1 levels s·c, c ∈ {−L, …, L}, L = 2^(b−1) − 1:

    c = clamp(round(w / s), −L, L),   ŵ = s·c

(2 bits: L = 1, ternary; ties round to even). Activations stay in full precision. A scheme says
which weights share one scale s, and how s is chosen from them:

    tensor_quantile  a whole matrix    s = Q₀.₉₉₉(|w|) / L, the sources' scheme
    tensor_mse       a whole matrix    s minimises Σ(w − ŵ)²
    channel_minmax   one output row    s = max|w| / L
    channel_mse      one output row    s minimises Σ(w − ŵ)²
    group_minmax     128 consecutive inputs of one row, the last group shorter; s = max|w| / L

The following properties result, and are tested. For weights that are not clipped, |w| ≤ (L + ½)s,
the error is at most s/2. Min-max and the exact MSE search are idempotent: the quantized tensor is
its own best quantization. (The quantile scheme is not, since clipping changes the quantile.) The
MSE error never exceeds that of the other rules over the same weights, and never rises with more
bits, since the levels of L at scale s are among those of a larger L at s. For min-max and quantile
scales more bits need not be better, except that 2 bits are never better than more: their levels
{0, ±Ls} are among those of every b. The levels of other numbers of bits are not nested (thirds,
sevenths): weights that are multiples of a third are exact with 3 bits, but not with 4.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BITS = (8, 4, 3, 2)
GROUP_SIZE = 128
QUANTILE = 0.999
EXACT_EVENTS = 2**22  # breakpoints that the exact MSE search may sort (about 0.2 GB, a second)


@dataclass(frozen=True)
class QuantizedTensor:
    """A quantized w (..., out, in).

    values  ŵ, of w's shape and dtype
    codes   c, of w's shape, int8
    scale   s in float64, one per block: (..., 1, 1) per matrix, (..., out, 1) per row,
            (..., out, groups) per group. Where a block's scale is 0, its ŵ is 0.
    """

    values: Tensor
    codes: Tensor
    scale: Tensor
    bits: int
    scheme: str

    @property
    def scale_per_weight(self) -> Tensor:
        """s of each weight, broadcast to w's shape."""
        rows, columns = self.values.shape[-2:]
        groups = self.scale.shape[-1]
        scale = self.scale if groups == 1 else self.scale.repeat_interleave(GROUP_SIZE, dim=-1)
        return scale[..., :columns].expand(*scale.shape[:-2], rows, columns)


# ---------------------------------------------------------------- which weights share a scale


def _whole_matrix(w: Tensor) -> Tensor:
    """(..., out, in) → (..., 1, 1, out·in)."""
    return w.flatten(-2)[..., None, None, :]


def _rows(w: Tensor) -> Tensor:
    """(..., out, in) → (..., out, 1, in)."""
    return w[..., None, :]


def _row_groups(w: Tensor) -> Tensor:
    """(..., out, in) → (..., out, groups, 128); the last group is filled with zeros, which do not
    change its maximum."""
    missing = -w.shape[-1] % GROUP_SIZE
    return torch.nn.functional.pad(w, (0, missing)).unflatten(-1, (-1, GROUP_SIZE))


# ---------------------------------------------------------------- how a scale is chosen
# Each takes magnitudes x = |w| (..., N), one block per row, and L; it returns s (...).


def minmax_scale(x: Tensor, L: int) -> Tensor:
    """max x / L: nothing is clipped."""
    return x.amax(dim=-1) / L


def quantile_scale(x: Tensor, L: int) -> Tensor:
    """Q(x) / L, Q the 0.999 quantile, interpolated linearly as by torch.quantile and numpy.

    It selects the two order statistics, since torch.quantile refuses more than 2^24 numbers.
    """
    position = QUANTILE * (x.shape[-1] - 1)
    below = x.kthvalue(int(position) + 1, dim=-1).values
    above = x.kthvalue(min(int(position) + 2, x.shape[-1]), dim=-1).values
    return torch.lerp(below, above, position - int(position)) / L


def mse_scale(x: Tensor, L: int) -> Tensor:
    """The s that minimises Σ(x − sc)²: exact up to `EXACT_EVENTS` breakpoints, else searched."""
    largest = x.amax(dim=-1)
    relative = (x / largest[..., None]).nan_to_num(0.0)  # squares of tiny weights would underflow
    exact = x.numel() * L <= EXACT_EVENTS
    return largest * (_mse_scale_exact if exact else _mse_scale_search)(relative, L)


def _mse_scale_exact(x: Tensor, L: int) -> Tensor:
    """Sweep over every assignment of codes that rounding can produce.

    As s falls from ∞ the code of x rises from j − 1 to j at s = x / (j − ½), and at no other point.
    For fixed codes the least-squares scale is A/B, A = Σxc, B = Σc², with error Σx² − A²/B. So the
    best of the N·L assignments met is the global minimum: cumulative sums of A (+x) and of
    B (+j² − (j−1)²) over the sorted breakpoints give A²/B for all of them.
    """
    j = torch.arange(1, L + 1, dtype=x.dtype, device=x.device)
    breakpoints = (x[..., None] / (j - 0.5)).flatten(-2)  # (..., N·L)
    order = breakpoints.argsort(dim=-1, descending=True)
    A = x.gather(-1, order // L).cumsum(-1)
    B = (2 * j - 1)[order % L].cumsum(-1)
    best = (A.square() / B).argmax(dim=-1, keepdim=True)
    return (A.gather(-1, best) / B.gather(-1, best)).squeeze(-1)


def _mse_scale_search(x: Tensor, L: int, points: int = 32, rounds: int = 3) -> Tensor:
    """A geometric grid, refined twice around its best point, then alternating least squares.

    The minimiser A/B lies in [mean x / L, max x]: c ≤ L and c rises with x, so by Chebyshev's sum
    inequality A/B ≥ Σxc / (L·Σc) ≥ mean x / L; and c² ≥ c gives A/B ≤ max x. Min-max and quantile
    scales are candidates too, so the result is never worse than theirs. Within 1e-3 of the exact
    error on Gaussian, Laplace and Student-t weights.
    """
    best = minmax_scale(x, L)
    error = _squared_error(x, best, L)

    def consider(s: Tensor) -> None:
        nonlocal best, error
        s_error = _squared_error(x, s, L)
        better = s_error < error  # false for NaN: a block of zeros keeps its scale 0
        best, error = torch.where(better, s, best), torch.where(better, s_error, error)

    consider(quantile_scale(x, L))
    low, high = x.mean(-1) / L, x.amax(-1)
    for _ in range(rounds):
        step = (high / low) ** (1 / (points - 1))
        for i in range(points):
            consider(low * step**i)
        low, high = best / step, best * step
    for _ in range(5):  # Lloyd 1982: codes for this scale, then the scale for these codes
        c = _codes(x, best, L)
        consider((x * c).sum(-1) / c.square().sum(-1))
    return best


def _codes(w: Tensor, s: Tensor, L: int) -> Tensor:
    """c (..., N) of the weights (..., N) at the scales (...); all 0 where s is 0."""
    codes = (w / s[..., None]).round().clamp(-L, L)
    return codes.masked_fill(s[..., None] == 0, 0.0)


def _squared_error(x: Tensor, s: Tensor, L: int) -> Tensor:
    return (x - s[..., None] * _codes(x, s, L)).square().sum(-1)


# ---------------------------------------------------------------- schemes


class Scheme(NamedTuple):
    blocks: Callable[[Tensor], Tensor]  # (..., out, in) → (..., a, b, N): scales are (..., a, b)
    scale: Callable[[Tensor, int], Tensor]


SCHEMES = {
    "tensor_quantile": Scheme(_whole_matrix, quantile_scale),
    "tensor_mse": Scheme(_whole_matrix, mse_scale),
    "channel_minmax": Scheme(_rows, minmax_scale),
    "channel_mse": Scheme(_rows, mse_scale),
    "group_minmax": Scheme(_row_groups, minmax_scale),
}


@torch.no_grad()
def quantize(w: Tensor, bits: int, scheme: str) -> QuantizedTensor:
    """w (..., out, in) to `bits` by a scheme of `SCHEMES`; stacked matrices each on their own.

    Scales and codes are computed in float64, then ŵ is rounded to w's dtype. A zero block has scale
    0 and ŵ = 0. Raises ValueError for other bits than 8, 4, 3, 2, an unknown scheme, a tensor that
    is no floating-point matrix or stack of them, and NaN or Inf in w.
    """
    if bits not in BITS:
        raise ValueError(f"quantize: bits must be one of {BITS}, not {bits}")
    if scheme not in SCHEMES:
        raise ValueError(f"quantize: scheme must be one of {tuple(SCHEMES)}, not {scheme!r}")
    if w.ndim < 2 or not w.is_floating_point() or w.numel() == 0:
        raise ValueError(
            "quantize: w must be a non-empty floating-point tensor (..., out, in), "
            f"not {tuple(w.shape)} of {w.dtype}"
        )
    if not w.isfinite().all():
        raise ValueError("quantize: w must be finite, and holds NaN or Inf")
    L = 2 ** (bits - 1) - 1
    blocks = SCHEMES[scheme].blocks(w.double())
    scale = SCHEMES[scheme].scale(blocks.abs(), L)
    codes = _codes(blocks, scale, L)
    values = scale[..., None] * codes
    return QuantizedTensor(
        values=_unblock(values, w.shape).to(w.dtype),
        codes=_unblock(codes, w.shape).to(torch.int8),
        scale=scale,
        bits=bits,
        scheme=scheme,
    )


def _unblock(blocks: Tensor, shape: torch.Size) -> Tensor:
    """(..., a, b, N) back to (..., out, in), the last group's padding cut off."""
    rows = blocks.flatten(-3).unflatten(-1, (shape[-2], -1))
    return rows[..., : shape[-1]]


def quantization_error(w: Tensor, q: QuantizedTensor | Tensor) -> dict[str, float]:
    """The error of quantizing w to q (or to the tensor q.values).

    relative_error   ‖w − ŵ‖₂ / ‖w‖₂, 0 for w = 0
    max_abs          max|w|
    fraction_zeroed  share of the non-zero weights that became 0; 0 for w = 0

    Raises ValueError for unequal shapes.
    """
    values = q.values if isinstance(q, QuantizedTensor) else q
    if values.shape != w.shape:
        raise ValueError(
            f"quantization_error: q must have w's shape {tuple(w.shape)}, not {tuple(values.shape)}"
        )
    w, values = w.detach().double(), values.detach().double()
    norm = float(torch.linalg.vector_norm(w))
    nonzero = w != 0
    zeroed = int((nonzero & (values == 0)).sum())
    return {
        "relative_error": float(torch.linalg.vector_norm(w - values)) / norm if norm else 0.0,
        "max_abs": float(w.abs().max()),
        "fraction_zeroed": zeroed / max(1, int(nonzero.sum())),
    }


def quantize_state(
    state: Mapping[str, Tensor], bits: int, scheme: str, names: Iterable[str]
) -> dict[str, Tensor]:
    """A copy of `state` whose tensors `names` are replaced by their quantized values.

    The others are the same tensors, not copies. Raises ValueError for a name not in `state`, and as
    `quantize` does.
    """
    names = set(names)
    if missing := sorted(names - state.keys()):
        raise ValueError(f"quantize_state: names not in the state: {', '.join(missing)}")
    return {
        name: quantize(tensor, bits, scheme).values if name in names else tensor
        for name, tensor in state.items()
    }
