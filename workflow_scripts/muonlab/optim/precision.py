"""In which precision the matrix products of the Newton–Schulz iteration run.

Nothing here is measured, so that two processes of one machine, and the ranks of one distributed
run, always agree. "auto", the default of the optimizers' classes, is bfloat16 where the hardware
multiplies it natively and float32 elsewhere: emulated bfloat16 is ten times slower than float32.
None, the default of the workflow's configs, is float32 on any CPU, so that a study gives the same
bytes on every machine of one kind, and bfloat16 on a GPU. An optimizer writes the answer into its
parameter group, and a checkpoint keeps it for a resumed run.
"""

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


def resolve_dtype(
    dtype: torch.dtype | str | None, device: torch.device, weights: torch.dtype = torch.float32
) -> torch.dtype | None:
    """A dtype from its name; "auto" is the device's `native_dtype`, None stays None.

    float64 weights are there for their precision, so "auto" keeps it. Raises ValueError for a name
    or dtype that the products cannot run in.
    """
    if dtype == "auto":
        return weights if weights == torch.float64 else native_dtype(device.type)
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
def native_dtype(device: str) -> torch.dtype:
    """bfloat16 where this kind of device multiplies it natively, else float32."""
    if device == "cpu":
        return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if device == "xpu" else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for products in bfloat16 and torch is built to use them.

    The environment variable ATEN_CPU_CAPABILITY, which keeps torch from using wide vectors, counts.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "NO AVX"):
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return any(bool(has) for name, has in found.items() if name.endswith("bf16"))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
