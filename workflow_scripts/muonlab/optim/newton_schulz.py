"""Newton–Schulz iteration towards the polar factor UVᵀ of a matrix G = UΣVᵀ."""

import torch
from torch import Tensor

from muonlab.optim.coefficients import Triple, schedule, triples
from muonlab.optim.iteration import Plan, frobenius, iterate, make_plan
from muonlab.optim.precision import working_dtype


def newton_schulz(
    G: Tensor,
    coefficients: str | list[Triple] = "jordan",
    steps: int = 5,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Approximate polar factor of each matrix of G.

    G: (..., m, n), floating point; each matrix of a stack is treated on its own. `coefficients`
    names a schedule of `coefficients.SCHEDULES`, gives explicit triples, or is "exact" (singular
    value decomposition in float64, the reference). `dtype` is that of the matrix products, see
    `precision.working_dtype`: None takes bfloat16 on a GPU and float32 on a CPU (float64 stays
    float64). Returns a new tensor of G's shape and dtype; a zero matrix gives zero, a NaN anywhere
    in a matrix gives NaN in that matrix alone.

    Raises ValueError for fewer than two dimensions, a dtype that is not floating point, or steps
    under 1. Source: K. Jordan, Muon (2024), with the schedules named in `coefficients`; the choice
    between the plain iteration and Gram space is `iteration.make_plan`'s.
    """
    if G.ndim < 2 or not G.is_floating_point():
        raise ValueError(
            f"newton_schulz takes floating-point matrices (..., m, n), "
            f"not a {G.dtype} tensor of shape {tuple(G.shape)}"
        )
    if coefficients == "exact":
        return exact_polar_factor(G)
    if G.numel() == 0:
        return G.clone()
    plan = shape_plan(coefficients, steps, G, dtype)
    X = G.flatten(0, -3) if G.ndim > 3 else G
    # The matrix is normalised before the cast, so that bf16 rounding does not affect the norm.
    X = X.to(torch.promote_types(G.dtype, torch.float32))
    X = (X / (frobenius(X) * plan.norm_factor)).to(plan.dtype)
    return iterate(X, plan).to(G.dtype).reshape(G.shape)


def shape_plan(
    coefficients: str | list[Triple], steps: int, G: Tensor, dtype: torch.dtype | None
) -> Plan:
    """How the matrices of G (…, m, n) are iterated. Raises ValueError for steps under 1."""
    if steps < 1:
        raise ValueError(f"ns_steps: must be at least 1, not {steps}")
    rows, columns = G.shape[-2:]
    working = working_dtype(G, dtype)
    plan, given = schedule(coefficients), triples(coefficients, steps)
    return make_plan(plan, given, rows, columns, working, on_cpu=G.is_cpu)


def exact_polar_factor(G: Tensor) -> Tensor:
    """UVᵀ over the singular values that are not zero to float64 rounding; (..., m, n) as G."""
    left, sigma, right = torch.linalg.svd(G.double(), full_matrices=False)
    rounding = sigma[..., :1] * max(G.shape[-2:]) * torch.finfo(torch.float64).eps
    kept = sigma.gt(rounding).to(torch.float64)
    return ((left * kept.unsqueeze(-2)) @ right).to(G.dtype)
