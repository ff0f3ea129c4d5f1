"""The cross-entropy of bfloat16 logits against torch's in float64."""

import pytest
import torch
from torch.nn import functional as F

from muonlab.models import cross_entropy
from muonlab.models.cross_entropy import mean_cross_entropy

IGNORED = -100


def logits_and_targets(rows=37, vocab=50, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(rows, vocab, generator=generator)).bfloat16()
    targets = torch.randint(vocab, (rows,), generator=generator)
    targets[::5] = IGNORED
    return logits, targets


def value_and_gradient(function, logits, targets):
    logits = logits.detach().requires_grad_()
    value = function(logits, targets)
    return value.detach(), *torch.autograd.grad(3 * value, logits)


@pytest.mark.parametrize("at_once", [1, 120, 2**19])
@pytest.mark.parametrize("scale", [0.0, 3.0, 200.0])
def test_value_and_gradient_are_those_of_float64(monkeypatch, at_once, scale):
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", at_once)
    logits, targets = logits_and_targets(scale=scale)
    value, gradient = value_and_gradient(
        lambda x, y: mean_cross_entropy(x, y, IGNORED), logits, targets
    )
    exact, slope = value_and_gradient(
        lambda x, y: F.cross_entropy(x, y, ignore_index=IGNORED), logits.double(), targets
    )
    assert value.dtype == torch.float32 and gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)
    assert (gradient - slope).norm() < 0.005 * slope.norm()
    assert not gradient[::5].any()


def test_without_any_target_it_is_nan_and_bad_logits_are_seen():
    logits, targets = logits_and_targets()
    assert mean_cross_entropy(logits, torch.full_like(targets, IGNORED), IGNORED).isnan()
    logits[3, 4] = float("nan")
    assert mean_cross_entropy(logits, targets, IGNORED).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_dtypes_take_the_way_of_torch(dtype):
    logits, targets = logits_and_targets()
    wanted = F.cross_entropy(logits.to(dtype), targets, ignore_index=IGNORED)
    assert torch.equal(mean_cross_entropy(logits.to(dtype), targets, IGNORED), wanted)
