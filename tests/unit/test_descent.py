"""The split of one update's descent, against exact Hessians; its table, figure and sentences."""

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from observed_layers import MadeUp
from scipy import stats

from muonlab.measure.descent import one_step
from muonlab.measure.hessian import HessianVectorProduct, dense_hessian
from muonlab.models.transformer import Transformer
from muonlab.probes.descent import groups_of
from muonlab.report.descent import QUANTITIES, descent_rows, descents
from muonlab.report.dynamics_sentences import dynamics_sentences, judged
from muonlab.report.figures.descent_over_loss import descent_over_loss

torch.set_num_threads(1)


def a_transformer():
    model = Transformer(
        vocab=7, context=4, width=4, layers=2, heads=2, feedforward=4, activation="silu"
    )
    model.initialise(0, "init")
    return model.double().eval()


def loss_of(model):
    tokens = torch.tensor([[0, 3, 5, 1], [6, 2, 2, 4]])

    def loss():
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = model(tokens[:, :-1])
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return loss


def random_update(model, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in model.named_parameters()
    }


def test_every_part_is_that_of_the_exact_hessian():
    model = a_transformer()
    parameters, update = dict(model.named_parameters()), random_update(model, 0.05)
    groups = groups_of(model)
    assert len(groups) == 3, "two layers, and the tensors in none"
    found = one_step(loss_of(model), parameters, update, groups)
    hvp = HessianVectorProduct(loss_of(model), list(parameters.values()))
    H, u = dense_hessian(hvp).numpy(), torch.cat([m.flatten() for m in update.values()]).numpy()
    owner = np.concatenate([
        np.full(p.numel(), next(i for i, g in enumerate(groups) if name in g))
        for name, p in parameters.items()
    ])  # fmt: skip
    blocks = np.array(
        [[u * (owner == i) @ H @ (u * (owner == j)) for j in range(3)] for i in range(3)]
    )
    assert found.penalty == pytest.approx(u @ H @ u / 2, rel=1e-9)
    assert found.within == pytest.approx(np.trace(blocks) / 2, rel=1e-9)
    assert found.across == pytest.approx((blocks.sum() - np.trace(blocks)) / 2, rel=1e-8)
    assert found.gain == pytest.approx(-float(hvp.gradient @ torch.from_numpy(u)), rel=1e-12)
    assert found.sharpness == pytest.approx(u @ H @ u / (u @ u), rel=1e-9)
    assert found.norm == pytest.approx(np.linalg.norm(u))


def test_the_remainder_is_of_third_order_and_the_weights_are_left_as_found():
    model = a_transformer()
    before = [p.detach().clone() for p in model.parameters()]
    parameters, groups = dict(model.named_parameters()), groups_of(model)
    remainders = [
        one_step(loss_of(model), parameters, random_update(model, size), groups).remainder
        for size in (1e-4, 5e-5)
    ]
    assert remainders[0] / remainders[1] == pytest.approx(8, rel=0.15)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 4))
def test_scaling_an_update_scales_gain_once_and_penalty_twice(seed, factor):
    W = torch.nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(seed)).double())
    V = torch.nn.Parameter(torch.ones(3).double())
    loss = lambda: W.square().sum() * V.sum() + W.sin().sum()  # noqa: E731
    parameters, groups = {"W": W, "V": V}, [["W"], ["V"]]
    generator = torch.Generator().manual_seed(seed + 1)
    update = {k: torch.randn(p.shape, generator=generator).double() for k, p in parameters.items()}
    scaled = {k: factor * move for k, move in update.items()}
    one, other = (one_step(loss, parameters, moves, groups) for moves in (update, scaled))
    assert other.gain == pytest.approx(factor * one.gain, rel=1e-9, abs=1e-12)
    for name in ("penalty", "within", "across"):
        expected = factor**2 * getattr(one, name)
        assert getattr(other, name) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert other.sharpness == pytest.approx(one.sharpness, rel=1e-9)
    permuted = one_step(loss, parameters, update, groups[::-1])
    assert permuted.within == pytest.approx(one.within) and permuted.loss == one.loss


def test_a_zero_update_gains_nothing_and_has_no_sharpness():
    W = torch.nn.Parameter(torch.ones(3).double())
    found = one_step(lambda: W.square().sum(), {"W": W}, {"W": torch.zeros(3)}, [["W"]])
    assert found.decrease == found.gain == found.penalty == 0 and math.isnan(found.sharpness)
    with pytest.raises(ValueError, match="every parameter once"):
        one_step(lambda: W.square().sum(), {"W": W}, {"W": torch.zeros(3)}, [])


# ---------------------------------------------------------------- report


def made_up_records(made, sharper=("adamw",)):
    """Records at three losses; the arms in `sharper` have a higher penalty and sharpness."""
    rng, rows = np.random.default_rng(0), []
    for run in made.runs:
        for step, loss in ((10, 4.0), (20, 3.0 + 0.01 * run["seed"]), (30, 2.0)):
            for quantity in QUANTITIES:
                value = 1 + 0.01 * rng.normal() + (run["arm"] in sharper)
                facts = {"step": step, "loss": loss, "metric": quantity, "value": value}
                rows.append({"arm": run["arm"], "seed": run["seed"]} | facts)
    return pd.DataFrame(rows)


def test_claim_17_holds_where_muon_is_less_sharp_and_not_otherwise():
    made = MadeUp()
    for sharper, verdict in (
        (("adamw",), "holds"),
        (("muon",), "does not hold"),
        ((), "undecided"),
    ):
        records = made_up_records(made, sharper)
        found = descents(records, made.runs, made.summaries)
        rows = pd.DataFrame(descent_rows(found, [("muon", "adamw")], made.study))
        assert judged(rows) == verdict
        assert list(dict.fromkeys(rows.point)) == ["end", "loss 1", "loss 2", "loss 3"]
        runs = pd.DataFrame(made.runs).assign(seconds_in_updates=1.0, seconds_in_watching=0.0)
        labels = {"adamw": "AdamW", "muon": "Muon"}
        told = "\n".join(dynamics_sentences(rows, runs, labels, made.study))
        assert f"(Muon against AdamW): **{verdict}**" in told
    end = records[(records.step == 30) & (records.metric == "gain")]
    wide = end.pivot(index="seed", columns="arm", values="value")
    interval = stats.ttest_rel(wide.muon, wide.adamw).confidence_interval(1 - 0.05 / 4)
    row = rows[(rows.point == "end") & rows.quantity.str.startswith("first-order")].iloc[0]
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("broken", [(), [("muon", 1)]])
def test_the_figure_is_drawn_without_a_warning(broken):
    made = MadeUp(broken=broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = made_up_records(made)
        figure = descent_over_loss(records, made.runs, made.summaries, made.study)
        figure.canvas.draw()
    plt.close(figure)
