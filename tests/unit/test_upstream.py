"""The faults of docs/upstream.md are still there, and ours are not affected by them."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from muonlab import Muon
from muonlab.optim.adamw import AdamW

PAGE = (Path(__file__).parents[2] / "docs" / "upstream.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.M))
MENDED = "mended upstream: take its section out of docs/upstream.md"
FAULTS = (AssertionError, RuntimeError, AttributeError)


def test_every_section_has_a_short_reproduction():
    assert len(SECTIONS) == PAGE.count("\n## ") == 4
    for title, code in SECTIONS.items():
        lines = [line for line in code.splitlines() if line and "import" not in line]
        assert len(lines) <= 10, title


@pytest.mark.xfail(strict=True, raises=FAULTS, reason=MENDED)
@pytest.mark.parametrize("title", SECTIONS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_fault_is_still_there(title):
    torch.manual_seed(0)
    exec(compile(SECTIONS[title], title, "exec"), {})


# ---------------------------------------------------------------- ours


def transposed(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[::-1], generator=generator).T


def strided(shape, seed):
    """Every second column of a wider matrix."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape[0], 2 * shape[1], generator=generator)[:, ::2]


def adamw_group(p):
    hidden = nn.Parameter(torch.zeros(2, 2))
    groups = [{"params": [hidden]}, {"params": [p], "optimizer": "adamw", "weight_decay": 0.1}]
    return Muon(groups, lr=0.1)


@pytest.mark.parametrize("make", [lambda p: AdamW([p], lr=0.1, weight_decay=0.1), adamw_group])
@pytest.mark.parametrize("weights", [torch.Tensor.contiguous, torch.Tensor.clone, lambda t: t])
@pytest.mark.parametrize("gradient", [transposed, strided])
def test_our_adamw_looks_at_strides(make, weights, gradient):
    start = transposed((5, 7), 0)
    ours, theirs = nn.Parameter(weights(start)), nn.Parameter(start.contiguous())
    reference = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.1, fused=False, foreach=False)
    optimizer = make(ours)
    for seed in range(3):
        ours.grad = gradient((5, 7), seed)
        theirs.grad = ours.grad.contiguous()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), atol=1e-6, rtol=1e-5)


def test_a_parameter_with_gaps_in_memory_is_updated_rightly_or_refused():
    p = nn.Parameter(strided((5, 7), 0))
    assert not p.is_contiguous()
    with pytest.raises(ValueError, match="gaps in memory"):
        AdamW([p])
    twin, optimizer = nn.Parameter(p.detach().contiguous()), adamw_group(p)
    reference = torch.optim.AdamW([twin], lr=0.1, weight_decay=0.1, fused=False, foreach=False)
    for seed in range(3):
        p.grad, twin.grad = transposed((5, 7), seed), transposed((5, 7), seed)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(p.detach(), twin.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("gradient", [transposed, strided])
def test_our_muon_looks_at_strides(gradient):
    start = transposed((5, 70), 0)
    for weights in (start, start.contiguous()):
        ours, theirs = nn.Parameter(weights.clone()), nn.Parameter(start.contiguous())
        for p in (ours, theirs):
            p.grad = gradient((5, 70), 1)
        theirs.grad = theirs.grad.contiguous()
        for p in (ours, theirs):
            Muon([p], lr=0.1, dtype="float32").step()
        torch.testing.assert_close(ours.detach(), theirs.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8), (40, 60), (300, 280)])
def test_our_momentum_is_the_mean_in_half_precision_without_nesterov(shape):
    p = nn.Parameter(torch.randn(shape, dtype=torch.bfloat16))
    p.grad = torch.randn(shape, dtype=torch.bfloat16)
    optimizer = Muon([p], lr=0.0, momentum=0.0, nesterov=False, dtype="bfloat16")
    optimizer.step()
    assert torch.equal(optimizer.state[p]["momentum_buffer"], p.grad)
