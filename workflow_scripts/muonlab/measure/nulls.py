"""What a measure of geometry is for matrices that know nothing of each other.

A number by itself does not say that an optimizer did something: two random subspaces are not
orthogonal, and a spectral norm grows in a random walk, too. The differences from these nulls do.
Nothing here imports torch, since tables and figures use it.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike


@cache
def null_alignment(dim: int, k: int = 5, samples: int = 4096, seed: int = 0) -> float:
    """Expected mean principal cosine of two independent, uniformly random k-subspaces of R^dim.

    Seeded Monte Carlo in float64. By rotation invariance the first subspace may be the span of the
    first k axes; a sample is then the top k × k block of the Q of a Gaussian (dim, k) matrix (Haar
    measure: Mezzadri 2007). Q depends on the dim − k rows under that block only through their own
    triangular factor, whose entries are independent normal and χ variables (Bartlett 1933). That
    factor is drawn, at a cost independent of dim. Standard error under 0.005 at the default.
    k is clipped to dim, as in `subspace_alignment`. Raises ValueError for dim, k or samples < 1.
    """
    if min(dim, k, samples) < 1:
        raise ValueError(
            f"null_alignment: dim, k and samples must be >= 1, not {dim}, {k} and {samples}"
        )
    k = min(k, dim)
    rng = np.random.default_rng(seed)
    top = rng.standard_normal((samples, k, k))
    rest = rng.standard_normal((samples, min(k, dim - k), k))
    if dim - k >= k:
        degrees = dim - k - np.arange(k)
        rest = np.triu(rest, 1) + np.eye(k) * np.sqrt(rng.chisquare(degrees, (samples, 1, k)))
    frame = np.linalg.qr(np.concatenate([top, rest], axis=1)).Q
    cosines = np.linalg.svd(frame[:, :k], compute_uv=False)
    return float(np.minimum(cosines, 1.0).mean())


def alignment_nulls(rows: int, columns: int, k: int = 5) -> tuple[float, float]:
    """`null_alignment` of the top-k left and right subspaces of rows × columns matrices.

    k is clipped to the smaller side, as in `alignment.subspace_alignment`.
    """
    k = min(k, rows, columns)
    return null_alignment(rows, k), null_alignment(columns, k)


def walk_growth(start_norm: ArrayLike, squared_steps: ArrayLike) -> np.ndarray:
    """The expected factor σ₁(W_t)/σ₁(W_0) of a random walk: √(1 + Σ_s ‖ΔW_s‖²/‖W_0‖²).

    The walk starts at a Gaussian matrix W_0 of Frobenius norm `start_norm` and takes steps of the
    given norms in independent, uniformly random directions. Their sum is a Gaussian matrix up to
    O(1/mn), so W_t is W_0's distribution scaled, and so is its whole spectrum: entropy, ranks and
    ratios of singular values stay what they were. `squared_steps` is the sum of the steps' squared
    norms. NaN for a start of norm 0, which has no direction to compare with.
    """
    start, squares = np.asarray(start_norm, dtype=float), np.asarray(squared_steps, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(start > 0, np.sqrt(1 + squares / start**2), math.nan)


def squared_path(steps: ArrayLike, norms: ArrayLike, until: ArrayLike) -> np.ndarray:
    """Σ_{s < t} ‖ΔW_s‖² for each t of `until`, from the norms of some of the updates.

    `norms` (m,) are those of the updates `steps` (m,), in ascending order. The squared norm of an
    update between two of them is interpolated linearly, and before the first and after the last it
    is theirs. Raises ValueError without a norm.
    """
    known = np.asarray(steps, dtype=float)
    if known.size == 0:
        raise ValueError("squared_path: there is no update whose norm is known")
    until = np.asarray(until, dtype=int)
    every = np.interp(np.arange(until.max(initial=0)), known, np.square(norms))
    return np.concatenate([[0.0], np.cumsum(every)])[until]
