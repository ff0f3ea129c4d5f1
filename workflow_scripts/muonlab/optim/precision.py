"""In which precision the matrix products of the Newton–Schulz iteration run.

The default never depends on a measurement. It is float32 on a CPU, so that a study gives the same
bytes on the same machine whatever else runs there, and bfloat16 on a GPU. "auto" measures the
machine once per process; an optimizer writes the result into its parameter group, and a checkpoint
keeps it for a resumed run.
"""

import time
from functools import lru_cache

import torch
from torch import Tensor

DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
HALF = (torch.bfloat16, torch.float16)
# On a CPU, matrices with a short side up to this run in float32 even if a half precision is asked
# for: their conversion costs more than the products (measured with AVX-512-bf16: 8 products of
# 32 × 32 take 12 µs in float32 and 29 µs in bf16; 8 of 64 × 64 take 62 and 49 µs), and float32 is
# more exact.
SMALLEST_HALF = 32
# How much faster than float32 a half precision has to be before "auto" takes it.
WORTHWHILE = 1.25
PROBE_SIZE = 256
PROBE_REPEATS = 5


def resolve_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype | None:
    """A dtype from its name; "auto" is the probe's answer for the device, None stays None.

    Raises ValueError for a name or dtype that the products cannot run in.
    """
    if dtype == "auto":
        return fastest_dtype(device.type)
    if isinstance(dtype, str) and dtype in DTYPES:
        return DTYPES[dtype]
    if dtype is None or dtype in DTYPES.values():
        return dtype
    raise ValueError(f"dtype: must be auto, {', '.join(DTYPES)} or None, not {dtype!r}")


def working_dtype(G: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The dtype of the products for matrices G (…, m, n).

    None is float64 for float64 input, else bfloat16 on a GPU and float32 on a CPU.
    """
    if dtype is None:
        if G.dtype == torch.float64:
            return torch.float64
        return torch.float32 if G.is_cpu else torch.bfloat16
    if dtype in HALF and G.is_cpu and min(G.shape[-2:]) <= SMALLEST_HALF:
        return torch.promote_types(G.dtype, torch.float32)
    return dtype


@lru_cache
def fastest_dtype(device: str) -> torch.dtype:
    """float32, or a half precision if it multiplies clearly faster on this kind of device.

    Each is timed by the fastest of a few products, so that a busy machine does not change the
    result. Native bfloat16 is two to three times faster than float32; emulated bfloat16 is ten
    times slower.
    """
    seconds = {dtype: _product_seconds(device, dtype) for dtype in (torch.float32, *HALF)}
    half = min(HALF, key=lambda dtype: seconds[dtype])
    # float16 has the smaller range, so it is preferred only if it is clearly faster.
    if half == torch.float16 and seconds[torch.bfloat16] < WORTHWHILE * seconds[half]:
        half = torch.bfloat16
    return half if seconds[half] * WORTHWHILE < seconds[torch.float32] else torch.float32


def _product_seconds(device: str, dtype: torch.dtype) -> float:
    """Seconds of the fastest of a few square products, after one to warm up."""
    A = torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype, device=device)
    best = float("inf")
    for repeat in range(PROBE_REPEATS + 1):
        start = time.perf_counter()
        A @ A
        if A.is_cuda:
            torch.cuda.synchronize()
        if repeat:
            best = min(best, time.perf_counter() - start)
    return best
