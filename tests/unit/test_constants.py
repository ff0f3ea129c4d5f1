"""Numbers that the documentation promises, and the kept results were made with."""

import numpy as np
import pytest
import torch

from muonlab.measure import quantizers, throughput
from muonlab.measure.quantizers import quantize
from muonlab.measure.stability import gradient_alarms, loss_spikes
from muonlab.statistics.bootstrap import RESAMPLES


def test_groups_are_of_128_inputs_of_a_row():
    w = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    found = quantize(w, 4, "group_minmax").scale
    expected = torch.stack([part.abs().amax(1) / 7 for part in w.double().split(128, dim=1)], dim=1)
    torch.testing.assert_close(found, expected)


def test_the_quantile_scheme_clips_one_weight_in_a_thousand():
    w = torch.arange(1.0, 10_001.0).reshape(100, 100)
    scale = quantize(w, 3, "tensor_quantile").scale.item()
    assert 3 * scale == pytest.approx(np.quantile(w.numpy().astype(float), 0.999))


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_the_searched_scale_is_the_best_one_for_its_own_codes(bits, monkeypatch):
    """The end of alternating least squares: no other scale has less error with the same codes."""
    monkeypatch.setattr(quantizers, "EXACT_EVENTS", 0)
    w = torch.randn(30, 40, generator=torch.Generator().manual_seed(bits))
    q = quantize(w, bits, "tensor_mse")
    codes = q.codes.double()
    best = (w.double() * codes).sum() / codes.square().sum()
    assert q.scale.item() == pytest.approx(best.item(), rel=1e-4)


def test_a_spike_is_three_deviations_over_the_fifty_losses_before():
    before = np.tile([1.0, -1.0], 40) * np.sqrt(49 / 50)  # a deviation of 1 in every 50
    for height, spike in ((2.9, False), (3.1, True)):
        assert loss_spikes(np.append(before, height))[-1] == spike
    quiet = np.append(100.0, before)  # what stands 50 losses back is in the window no more
    assert loss_spikes(np.append(quiet[:51], 3.1))[-1]


def test_alarms_are_at_the_documented_norms():
    assert gradient_alarms([2e-7, 0.9e-7, 0.0, 999.0, 1001.0]) == {
        "vanishing": 2,
        "exploding": 1,
        "nonfinite": 0,
    }


def test_the_ceiling_counts_a_product_and_a_sum_for_each_pair(monkeypatch):
    monkeypatch.setattr(throughput, "_product_seconds", lambda A, out: len(A) / 1024)
    assert throughput.matmul_ceiling(torch.float32) == 2 * 1024**3


def test_a_bootstrap_draws_two_thousand_times_unless_it_is_told_otherwise():
    assert RESAMPLES == 2000
