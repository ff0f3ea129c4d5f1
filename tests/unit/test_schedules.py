"""Learning-rate factors, indexed by optimizer updates."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muonlab.optim.schedules import SCHEDULES, lr_factor

runs = st.integers(2, 400).flatmap(
    lambda total: st.tuples(st.just(total), st.integers(0, total - 2), st.floats(0, 0.5))
)


@given(run=runs, name=st.sampled_from(SCHEDULES))
def test_rises_to_one_and_falls_to_the_final_fraction(run, name):
    total, warmup, final = run
    factors = [lr_factor(k, total, name, warmup, final) for k in range(total)]
    assert all(0 < f <= 1 + 1e-12 for f in factors[:-1])
    rising = factors[: warmup + 1]
    assert rising == sorted(rising)
    assert factors[warmup] == 1
    falling = factors[warmup:]
    assert falling == sorted(falling, reverse=True)
    assert factors[-1] == pytest.approx(1 if name == "constant" else final, abs=1e-12)


def test_warmup_is_linear_and_never_zero():
    assert [lr_factor(k, 10, "constant", warmup=4) for k in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_cosine_is_torchs():
    (p,) = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD([p], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=49, eta_min=0.1)
    for k in range(50):
        assert lr_factor(k, 50, "cosine", 0, 0.1) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@given(run=runs)
def test_linear_falls_by_equal_steps(run):
    total, warmup, final = run
    factors = [lr_factor(k, total, "linear", warmup, final) for k in range(warmup, total)]
    drops = [a - b for a, b in zip(factors, factors[1:], strict=False)]
    assert max(drops) - min(drops) < 1e-9


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="cosinus"):
        lr_factor(1, 10, "cosinus")


@given(run=runs, name=st.sampled_from(SCHEDULES), beyond=st.integers(0, 400))
def test_a_run_longer_than_its_schedule_keeps_the_last_rate(run, name, beyond):
    total, warmup, final = run
    last = lr_factor(total - 1, total, name, warmup, final)
    assert lr_factor(total - 1 + beyond, total, name, warmup, final) == last


def test_a_schedule_of_one_update_does_not_fall_below_its_last_rate():
    for name in ("linear", "cosine"):
        assert [lr_factor(k, 1, name, 0, 0.1) for k in (1, 2, 50)] == [0.1] * 3
