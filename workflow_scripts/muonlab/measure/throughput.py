"""How fast the machine multiplies matrices; other rates are compared with this."""

import time

import torch

# Sides of the square products that are tried; larger products are no faster.
SIDES, GPU_SIDES = (512, 1024), (4096, 8192)
REPEATS = 5


def matmul_ceiling(dtype: torch.dtype, device: str = "cpu") -> float:
    """Flops per second of the fastest of a few square products, with torch's present number of
    threads: the practical limit for a program made of matrix products."""
    best = 0.0
    for side in SIDES if device == "cpu" else GPU_SIDES:
        A = torch.randn(side, side, device=device).to(dtype)
        out = torch.empty_like(A)
        seconds = min(_product_seconds(A, out) for _ in range(REPEATS + 1))
        best = max(best, 2 * side**3 / seconds)
    return best


def _product_seconds(A: torch.Tensor, out: torch.Tensor) -> float:
    if A.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    torch.mm(A, A, out=out)
    if A.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
