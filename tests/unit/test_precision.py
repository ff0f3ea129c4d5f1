"""In which dtype products run: stable defaults, names, and a probe that is asked once."""

import pytest
import torch

from muonlab.optim import precision
from muonlab.optim.muon import Muon
from muonlab.optim.precision import fastest_dtype, resolve_dtype, working_dtype

CPU = torch.device("cpu")


def test_the_default_on_a_cpu_is_no_measurement(monkeypatch):
    monkeypatch.setattr(precision, "fastest_dtype", lambda device: 1 / 0)
    assert resolve_dtype(None, CPU) is None
    assert working_dtype(torch.ones(300, 300), None) == torch.float32
    assert working_dtype(torch.ones(300, 300, dtype=torch.bfloat16), None) == torch.float32
    assert working_dtype(torch.ones(3, 3, dtype=torch.float64), None) == torch.float64


def test_half_precision_is_for_matrices_it_pays_for():
    assert working_dtype(torch.ones(300, 300), torch.bfloat16) == torch.bfloat16
    assert working_dtype(torch.ones(15, 784), torch.bfloat16) == torch.float32
    assert working_dtype(torch.ones(784, 15, dtype=torch.float64), torch.float16) == torch.float64


@pytest.mark.parametrize("bfloat16", [0.5, 0.85, 3.0])
@pytest.mark.parametrize("float16", [0.45, 0.3, 3.0])
def test_the_probe_takes_the_clearly_faster_one(monkeypatch, bfloat16, float16):
    seconds = {torch.float32: 1.0, torch.bfloat16: bfloat16, torch.float16: float16}
    monkeypatch.setattr(precision, "_product_seconds", lambda device, dtype: seconds[dtype])
    found = fastest_dtype.__wrapped__("cpu")
    if min(bfloat16, float16) > 0.8:
        assert found == torch.float32
    elif float16 * 1.25 < bfloat16:
        assert found == torch.float16
    else:
        assert found == torch.bfloat16


def test_the_probes_answer_is_kept_and_recorded():
    assert fastest_dtype("cpu") is fastest_dtype("cpu")
    group = Muon([torch.nn.Parameter(torch.ones(3, 3))], dtype="auto").param_groups[0]
    assert group["dtype"] == fastest_dtype("cpu")
    assert resolve_dtype("float16", CPU) == torch.float16


@pytest.mark.parametrize("bad", ["float8", torch.int32, 16])
def test_mistakes_are_named(bad):
    with pytest.raises(ValueError, match="dtype: must be auto, bfloat16"):
        resolve_dtype(bad, CPU)
