"""The size of an orthogonalized update: set by a factor from the matrix's shape, or exactly.

The root mean square of an orthogonal m × n matrix is 1/√max(m, n), so `match_rms_adamw`
(Liu et al., arXiv 2502.16982) gives the usual 0.2 of AdamW's updates where Newton–Schulz has
brought the singular values to 1. `fixed_rms` gives exactly 0.2 whatever the singular values are.
Updates with it (matched steps) differ in direction only, so that the arms of an ablation are
comparable at one learning rate.
"""

import math

import torch
from torch import Tensor

RMS = 0.2
# Updates with a norm below this are scaled by RMS·√(mn)/SMALLEST, so that zero stays zero.
SMALLEST = 1e-15


def update_scale(rows: int, columns: int, scale: str) -> float:
    """The factor on lr for a matrix (rows = out, columns = in); 1 for what `fix_rms` scales."""
    if scale == "match_rms_adamw":
        return RMS * math.sqrt(max(rows, columns))
    if scale == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 1.0


def fix_rms(updates: Tensor, sizes: Tensor | float | None = None) -> None:
    """Scales each matrix of `updates` (…, m, n), in place, to root mean square RMS; zero stays.

    `sizes` are the norms that they get, where zeros pad the matrices: RMS·√(mn) by default.
    """
    if sizes is None:
        sizes = RMS * math.sqrt(updates.size(-2) * updates.size(-1))
    wide = torch.promote_types(updates.dtype, torch.float32)
    norms = torch.linalg.vector_norm(updates, dim=(-2, -1), keepdim=True, dtype=wide)
    updates.mul_(sizes / norms.clamp_min_(SMALLEST))
