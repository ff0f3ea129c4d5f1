"""In which dtype products run: no measurement, names, and what the hardware has."""

import pytest
import torch
from torch import nn

from muonlab.optim import precision
from muonlab.optim.muon import Muon
from muonlab.optim.precision import native_dtype, resolve_dtype, working_dtype

CPU = torch.device("cpu")


def test_what_a_config_says_by_default_does_not_depend_on_the_cpu(monkeypatch):
    monkeypatch.setattr(precision, "native_dtype", lambda device: 1 / 0)
    assert resolve_dtype(None, CPU) is None
    assert working_dtype(torch.ones(300, 300), None) == torch.float32
    assert working_dtype(torch.ones(300, 300, dtype=torch.bfloat16), None) == torch.float32
    assert working_dtype(torch.ones(3, 3, dtype=torch.float64), None) == torch.float64


def test_half_precision_is_for_matrices_it_pays_for():
    assert working_dtype(torch.ones(300, 300), torch.bfloat16) == torch.bfloat16
    assert working_dtype(torch.ones(15, 784), torch.bfloat16) == torch.float32
    assert working_dtype(torch.ones(784, 15, dtype=torch.float64), torch.float16) == torch.float64


@pytest.mark.parametrize(
    ("capability", "has", "expected"),
    [
        ("AVX512", {"avx512_f": True, "avx512_bf16": True}, torch.bfloat16),
        ("AVX512", {"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ("AVX512", {"amx_bf16": True}, torch.bfloat16),
        ("AVX2", {"avx512_bf16": True}, torch.float32),  # ATEN_CPU_CAPABILITY says so
        ("DEFAULT", {"arm_bf16": True}, torch.bfloat16),
        ("DEFAULT", {}, torch.float32),
    ],
)
def test_a_cpu_is_asked_for_its_instructions(monkeypatch, capability, has, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert native_dtype.__wrapped__("cpu") == expected


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_native_products(monkeypatch, native):
    asked = lambda including_emulation: native and not including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", asked)
    assert native_dtype.__wrapped__("cuda") == (torch.bfloat16 if native else torch.float32)


def test_auto_is_the_default_and_is_written_into_the_group():
    def dtype_of(p, **settings):
        return Muon([p], **settings).param_groups[0]["dtype"]

    single, double = (nn.Parameter(torch.ones(3, 3, dtype=d)) for d in (None, torch.float64))
    assert dtype_of(single) == dtype_of(single, dtype="auto") == native_dtype("cpu")
    assert dtype_of(double) == torch.float64, "who has float64 weights wants their precision"
    assert dtype_of(single, dtype="float16") == torch.float16
    assert dtype_of(single, dtype=None) is None


@pytest.mark.parametrize("bad", ["float8", torch.int32, 16])
def test_mistakes_are_named(bad):
    with pytest.raises(ValueError, match="dtype: must be auto, bfloat16"):
        resolve_dtype(bad, CPU)
