"""The Newton–Schulz iteration itself: on the matrix, or on its small Gram matrix.

Plain: A = XXᵀ, B = bA + cA², X ← aX + BX costs 4m²n + 2m³ flops a step for an m × n matrix, m ≤ n.
Gram space: with R = XXᵀ and Q = aI + B(R), every step maps R ← QRQ and multiplies the product of
all Q so far, P, by the new one, so that k steps need the long side only twice (R at the beginning,
PX at the end): 4m²n + (8k − 6)m³ flops.

The price of Gram space is rounding. R is only known to its working precision u: its error is about
u times its largest row norm, and for a small singular value each step multiplies that error by a².
After a few steps in bfloat16 an eigenvalue of R that should vanish has become negative and diverges
(tests/unit/test_newton_schulz.py shows it). The steps are therefore cut into segments. Each starts
from a newly computed XXᵀ and ends before that product passes a limit: after two steps of `jordan`
in bfloat16, after five in float32. The first R has trace 1. If its row norms are small, that is, if
no few rows dominate the matrix, the first segment may be longer (three steps of `jordan`). This is
checked on a CPU only, where reading a number costs no synchronisation. A schedule at the edge of
divergence (`cans`) is moved a few percent away from it. The result is then as exact as the plain
iteration's, for input of any conditioning.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from muonlab.optim.coefficients import Schedule, Triple
from muonlab.optim.precision import HALF

SMALLEST_NORM = 1e-7
# Limits of u·(largest row norm of R)·∏a² at a segment's last Gram matrix. In half precision the
# limit keeps the error at that of the plain iteration; in wider precisions it keeps even vanishing
# singular values correct to 1e-2.
HALF_LIMIT, WIDE_LIMIT = 0.1, 1e-2
# The largest row norm of the first R under which the first segment may be longer.
SPREAD = 0.18
GPU_SIDE = 256
# A schedule tolerates a precision if singular values that are 4u too large at every step stay under
# this (`jordan` ends at 1.2).
TOLERATED = 2.5
# On a CPU, products of at least this many multiplications run one at a time, even within a batch:
# that is up to 10 % faster, but as much slower for smaller products.
LARGE_WORK = 512**3
# Of these, symmetric products of at least two blocks of SYMMETRIC_ROWS rows are computed block by
# block, each from the diagonal on, and mirrored, which is 10–30 % faster, but slower for smaller
# products. Where the factors are LONG times as long as their product is wide, mirroring costs less
# beside the product: then smaller blocks are faster.
SYMMETRIC_ROWS, SYMMETRIC_ROWS_OF_LONG = 192, 128
LONG = 4


class Plan(NamedTuple):
    """How matrices of one shape are iterated: the triples of each segment, and whether in Gram
    space."""

    segments: tuple[tuple[Triple, ...], ...]
    spread_segments: tuple[tuple[Triple, ...], ...]
    gram: bool
    gram_is_safe: bool
    norm_factor: float
    renormalise: bool
    dtype: torch.dtype


class Square(NamedTuple):
    """Reused (…, m, m) buffers; None everywhere means that every product makes a new tensor."""

    R: Tensor | None = None
    Q: Tensor | None = None
    S: Tensor | None = None
    P: Tensor | None = None
    P_next: Tensor | None = None


NO_BUFFERS = Square()


@lru_cache(maxsize=1024)
def make_plan(
    schedule: Schedule,
    triples: tuple[Triple, ...],
    rows: int,
    columns: int,
    dtype: torch.dtype,
    on_cpu: bool = True,
) -> Plan:
    """Chooses Gram space where it saves at least a tenth of the flops, else the plain iteration.

    On a CPU the first segment may be longer if the row norms of R permit it. Elsewhere Gram space
    needs a short side above GPU_SIDE, since it takes more kernels. The plain iteration is also used
    for a schedule that normalises at each step or does not tolerate the precision.
    """
    triples = tolerated(triples, schedule.norm_factor, dtype)
    segments = cut(triples, dtype)
    spread = cut(triples, dtype, SPREAD) if on_cpu else segments
    m, n = sorted((rows, columns))
    cheaper = gram_flops(spread, m, n) < 0.9 * plain_flops(len(triples), m, n)
    safe = not schedule.renormalise and tolerates(triples, schedule.norm_factor, dtype)
    gram = cheaper and safe and (on_cpu or m > GPU_SIDE)
    return Plan(segments, spread, gram, safe, schedule.norm_factor, schedule.renormalise, dtype)


def cut(
    triples: tuple[Triple, ...], dtype: torch.dtype, first_norm: float = 1.0
) -> tuple[tuple[Triple, ...], ...]:
    """Cuts the triples into the longest segments whose last Gram matrix has an error within the
    limit.

    `first_norm` bounds the row norms of the first R; those of later ones are bounded by 1.
    """
    limit = HALF_LIMIT if dtype in HALF else WIDE_LIMIT
    unit = torch.finfo(dtype).eps / 2
    segments: list[list[Triple]] = []
    error = unit * first_norm
    for triple in triples:
        if segments and error <= limit:
            segments[-1].append(triple)
        else:
            error = unit if segments else error
            segments.append([triple])
        error *= triple[0] ** 2
    return tuple(map(tuple, segments))


def tolerated(
    triples: tuple[Triple, ...], norm_factor: float, dtype: torch.dtype
) -> tuple[Triple, ...]:
    """The triples; in half precision each argument is divided by up to 1.05, until `tolerates` is
    true.

    `cans` maps singular values up to 1.99, and any value above 2.01 diverges to infinity: in
    bfloat16 some gradients would diverge. Amsel et al. (arXiv 2505.16932, on finite precision) make
    Polar Express safe with such a factor, which its published coefficients contain.
    """
    if dtype not in HALF:
        return triples
    for percent in range(6):
        s = 1 + percent / 100
        damped = tuple((a / s, b / s**3, c / s**5) for a, b, c in triples)
        if tolerates(damped, norm_factor, dtype):
            return damped
    return triples


def tolerates(triples: tuple[Triple, ...], norm_factor: float, dtype: torch.dtype) -> bool:
    """Whether singular values that are 4u too large at each step still do not diverge."""
    x = torch.linspace(0, 1 / norm_factor, 2001, dtype=torch.float64)
    for a, b, c in triples:
        x = x * (1 + 2 * torch.finfo(dtype).eps)
        x = (a * x + b * x**3 + c * x**5).abs()
    return bool(x.max() < TOLERATED)


def plain_flops(steps: int, m: int, n: int) -> int:
    """Flops of the plain iteration on an m × n matrix, m ≤ n."""
    return steps * (4 * m * m * n + 2 * m**3)


def gram_flops(segments: tuple[tuple[Triple, ...], ...], m: int, n: int) -> int:
    """Flops of the iteration in Gram space on an m × n matrix, m ≤ n."""
    return sum(4 * m * m * n + (8 * len(s) - 6) * m**3 for s in segments)


def iterate(
    X: Tensor,
    plan: Plan,
    square: Square = NO_BUFFERS,
    spare: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The polar factor of X (m, n) or (batch, m, n), Frobenius norm at most 1; X is overwritten.

    `spare` is a buffer of X's shape, `square` of its Gram matrix's; `out`, of X's shape, receives
    the result, which is returned. None for a buffer makes new tensors instead.
    """
    segments = plan.segments if plan.gram else single_steps(plan.segments)
    k = 0
    while k < len(segments):
        if plan.renormalise:
            X = X.div_(frobenius(X))
        R = gram(X, square.R)
        if k == 0 and plan.gram and plan.spread_segments != segments and is_spread(R):
            segments = plan.spread_segments
        target = out if k == len(segments) - 1 and out is not None else spare
        if len(segments[k]) == 1:
            a, b, c = segments[k][0]
            B = symmetric_product(R, R, R, b, c, square.Q)
            Y = act_on(B, X, target, a)
        else:
            Y = act_on(gram_segment(R, segments[k], square), X, target)
        X, spare = Y, None if spare is None else X
        k += 1
    return X


def single_steps(segments: tuple[tuple[Triple, ...], ...]) -> tuple[tuple[Triple, ...], ...]:
    """Makes every step a segment of its own, which is the plain iteration."""
    return tuple((triple,) for segment in segments for triple in segment)


def is_spread(R: Tensor) -> bool:
    """Whether no row norm of these Gram matrices is above SPREAD; reads a number from them.

    A row's squared norm is at most its diagonal entry times the trace, which is at most 1. The
    diagonal, which costs far less to read, therefore mostly suffices.
    """
    if R.diagonal(dim1=-2, dim2=-1).amax() <= SPREAD**2:
        return True
    return bool(torch.linalg.vector_norm(R, dim=-1, dtype=torch.float32).amax() <= SPREAD)


def gram_segment(R: Tensor, segment: tuple[Triple, ...], square: Square) -> Tensor:
    """P (…, m, m) with which PX is X after the segment, from R = XXᵀ, which is overwritten.

    Every product is computed whole. Products of R, Q and P are symmetric in exact arithmetic alone:
    if one half were copied from the other, as in `symmetric_product`, later steps would multiply
    the error until small singular values diverge.
    """
    P = None
    for k, (a, b, c) in enumerate(segment):
        Q = product(R, R, R, b, c, square.P if k == 0 else square.Q)
        Q.diagonal(dim1=-2, dim2=-1).add_(a)
        P = Q if P is None else product(P, Q, out=(square.P, square.P_next)[k % 2])
        if k < len(segment) - 1:
            S = product(R, Q, out=square.S)
            R = product(S, Q, out=square.R)
    return P


def gram(X: Tensor, out: Tensor | None = None) -> Tensor:
    """XXᵀ of a wide matrix, XᵀX of a tall one: the Gram matrix of the short side."""
    tall = X.size(-2) > X.size(-1)
    return symmetric_product(X.mT if tall else X, X if tall else X.mT, out=out)


def act_on(P: Tensor, X: Tensor, out: Tensor | None = None, a: float = 0.0) -> Tensor:
    """PX + aX on the short side of X: from the left of a wide matrix, the right of a tall one."""
    left, right = (X, P) if X.size(-2) > X.size(-1) else (P, X)
    return product(left, right, X if a else None, a, 1.0, out)


def product(
    A: Tensor,
    B: Tensor,
    add: Tensor | None = None,
    beta: float = 0.0,
    alpha: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """AB, or beta·add + alpha·AB, for matrices or batches of them."""
    if A.ndim == 3 and is_large(A, B):
        return one_by_one(product, A, B, add, beta, alpha, out)
    if add is None:
        return torch.mm(A, B, out=out) if A.ndim == 2 else torch.bmm(A, B, out=out)
    if A.ndim == 2:
        return torch.addmm(add, A, B, beta=beta, alpha=alpha, out=out)
    return torch.baddbmm(add, A, B, beta=beta, alpha=alpha, out=out)


def symmetric_product(
    A: Tensor,
    B: Tensor,
    add: Tensor | None = None,
    beta: float = 0.0,
    alpha: float = 1.0,
    out: Tensor | None = None,
) -> Tensor:
    """`product` where each entry is the same sum as its mirror image: XXᵀ, or the square of a
    symmetric R, plus a symmetric matrix. One half is copied from the other where that is faster.

    Not for products of different matrices that commute, which rounding makes unsymmetric.
    """
    m = A.size(-2)
    if m < 2 * SYMMETRIC_ROWS or not is_large(A, B):
        return product(A, B, add, beta, alpha, out)
    if A.ndim == 3:
        return one_by_one(symmetric_product, A, B, add, beta, alpha, out)
    out = A.new_empty(m, m) if out is None else out
    blocks = m // (SYMMETRIC_ROWS_OF_LONG if A.size(-1) >= LONG * m else SYMMETRIC_ROWS)
    edges = [m * i // blocks for i in range(blocks + 1)]
    for lo, hi in zip(edges[:-1], edges[1:], strict=True):
        added = None if add is None else add[lo:hi, lo:]
        product(A[lo:hi], B[:, lo:], added, beta, alpha, out[lo:hi, lo:])
        out[hi:, lo:hi].copy_(out[lo:hi, hi:].mT)
    return out


def is_large(A: Tensor, B: Tensor) -> bool:
    """Whether each product of A (…, m, k) and B (…, k, n) is at least LARGE_WORK on a CPU."""
    return A.is_cpu and A.size(-2) * A.size(-1) * B.size(-1) >= LARGE_WORK


def one_by_one(multiply, A: Tensor, B: Tensor, add, beta: float, alpha: float, out) -> Tensor:
    """`product` or `symmetric_product` of each pair of matrices of two batches."""
    out = A.new_empty(A.size(0), A.size(1), B.size(2)) if out is None else out
    for i in range(A.size(0)):
        multiply(A[i], B[i], None if add is None else add[i], beta, alpha, out[i])
    return out


def frobenius(X: Tensor) -> Tensor:
    """Frobenius norm of each matrix, (…, 1, 1), in float32 or wider; at least SMALLEST_NORM."""
    wide = torch.promote_types(X.dtype, torch.float32)
    norm = torch.linalg.vector_norm(X, dim=(-2, -1), keepdim=True, dtype=wide)
    return norm.clamp_min_(SMALLEST_NORM)
