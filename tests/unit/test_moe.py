"""Mixture of experts against a loop over tokens in float64, and its losses against their sums."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from muonlab.models import grouped
from muonlab.models.forward_pass import ForwardPass
from muonlab.models.grouped import Slots, grouped_linear, row_multiple
from muonlab.models.moe import MixtureOfExperts, relative_entropy
from muonlab.models.transformer import Transformer


def experts(width=8, hidden=12, count=4, k=2, seed=0, dtype=torch.float64, **arguments):
    defaults = dict(activation="silu", noise=0.0, balance=0.01, z=0.0, capacity=None)
    module = MixtureOfExperts(0, width, hidden, count, k, **(defaults | arguments))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / math.sqrt(p.size(-1)))
    return module.to(dtype)


def batch(n, width=8, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, n, width, generator=generator, dtype=dtype)


def token_loop(module, x, weights):
    """Output (n, d), dropped slots and the two losses, one token and one choice at a time.

    x: (n, d) float64; weights: {name: float64 tensor} of the module.
    """
    n, count, k = len(x), module.experts, module.top_k
    logits = x @ weights["router"].T
    probabilities = logits.softmax(-1)
    chosen = logits.topk(k).indices.tolist()
    limit = math.inf
    if module.capacity is not None:
        limit = math.ceil(module.capacity * n * k / count)
    load, out, dropped = [0] * count, [torch.zeros_like(row) for row in x], 0
    for j in range(k):  # first choices are served first
        for token in range(n):
            e = chosen[token][j]
            load[e] += 1
            if load[e] > limit:
                dropped += 1
                continue
            total = sum(logits[token, c].exp() for c in chosen[token])
            share = logits[token, e].exp() / total if k > 1 else probabilities[token, e]
            up = weights["up"][e] @ x[token]
            if "gate" in weights:
                hidden = module.activation(weights["gate"][e] @ x[token]) * up
            else:
                hidden = module.activation(up)
            out[token] = out[token] + share * (weights["down"][e] @ hidden)
    fractions = [c / (n * k) for c in load]
    balance = count * sum(f * probabilities[:, e].mean() for e, f in enumerate(fractions))
    z = sum(row.exp().sum().log() ** 2 for row in logits) / n
    return torch.stack(out), dropped / (n * k), balance, z


def compare(module, x, tolerance):
    """Asserts that output, losses and all gradients equal the loop's."""
    weights = {n: p.detach().double().requires_grad_() for n, p in module.named_parameters()}
    inputs = x[0].detach().double().requires_grad_()
    expected, dropped, balance, z = token_loop(module, inputs, weights)
    x = x.detach().requires_grad_()
    run = ForwardPass(seen={})
    out = module(x, run)
    close = dict(rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(out[0].double(), expected, **close)
    (loss,) = run.losses
    torch.testing.assert_close(loss.double(), module.balance * balance + module.z * z, **close)
    torch.testing.assert_close(run.seen["balance_loss"][0].double(), balance.detach(), **close)
    torch.testing.assert_close(run.seen["z_loss"][0].double(), z.detach(), **close)
    assert run.seen["dropped_fraction"][0].item() == pytest.approx(dropped)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9)).double()
    names = sorted(weights)
    wanted = torch.autograd.grad(
        (expected * direction).sum() + module.balance * balance + module.z * z,
        [inputs] + [weights[n] for n in names],
    )
    own = dict(module.named_parameters())
    got = torch.autograd.grad(
        (out[0] * direction.type_as(out)).sum() + loss, [x] + [own[n] for n in names]
    )
    torch.testing.assert_close(got[0][0].double(), wanted[0], **close)
    for name, a, b in zip(names, got[1:], wanted[1:], strict=True):
        torch.testing.assert_close(a.double(), b, **close, msg=lambda m, n=name: f"{n}: {m}")


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 20),
    count=st.integers(1, 6),
    data=st.data(),
    hidden=st.integers(1, 9),
    width=st.integers(1, 9),
    activation=st.sampled_from(["silu", "gelu", "relu2", "swiglu"]),
    capacity=st.sampled_from([None, 0.3, 1.0, 1.25]),
    z=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 10**6),
)
def test_output_losses_and_gradients_equal_a_loop_over_tokens(
    n, count, data, hidden, width, activation, capacity, z, seed
):
    k = data.draw(st.integers(1, count))
    module = experts(
        width, hidden, count, k, seed, activation=activation, capacity=capacity, z=z, balance=0.3
    )
    compare(module, batch(n, width, seed + 1), 1e-10)


@pytest.mark.parametrize("n", [1, 2, 33])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_the_grouped_kernel_equals_the_loop_in_single_precision(n, activation):
    module = experts(16, 24, 5, 2, dtype=torch.float32, activation=activation)
    assert grouped.has_grouped_kernel(torch.ones(1, 16), module.up)
    compare(module, batch(n, 16, dtype=torch.float32), 1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_experts_that_get_no_token_and_ties(dtype, tolerance):
    module = experts(count=6, dtype=dtype, balance=0.2)
    with torch.no_grad():
        module.router[2:] = -10 * module.router[:2].abs().sum(0)
    x = batch(9, dtype=dtype).abs()  # experts 2 to 5 get nothing
    compare(module, x, tolerance)
    assert module.counts.tolist()[2:] == [0] * 4 or module.counts.tolist()[:2] == [9, 9]
    out = module(x, ForwardPass())
    out.sum().backward()
    assert bool((module.up.grad[2:] == 0).all()) and bool(module.up.grad[:2].ne(0).any())
    with torch.no_grad():
        module.router.zero_()  # all experts tie
    compare(module, x, tolerance)
    assert module.counts.sum() == 18 and module.counts.max() <= 9


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    inner=st.sampled_from([3, 4, 8]),
    outer=st.sampled_from([1, 4, 12]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
)
def test_a_grouped_product_is_one_product_a_group(sizes, inner, outer, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    total = sum(sizes)
    x = torch.randn(total, inner, generator=generator, dtype=dtype, requires_grad=True)
    w = torch.randn(len(sizes), outer, inner, generator=generator, dtype=dtype, requires_grad=True)
    ends = torch.tensor(sizes).cumsum(0).int()
    y = grouped_linear(x, w, ends)
    rows = [
        w[e] @ x[s] for s, e in enumerate(torch.repeat_interleave(torch.tensor(sizes)).tolist())
    ]
    expected = torch.stack(rows) if rows else x.new_empty(0, outer)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    if total:
        ours = torch.autograd.grad(y.square().sum(), (x, w))
        theirs = torch.autograd.grad(expected.square().sum(), (x, w), materialize_grads=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def routing(n, count, data, seed):
    """A drawn k, the experts (n, k) that random tokens choose, and the generator that drew them."""
    k = data.draw(st.integers(1, count))
    generator = torch.Generator().manual_seed(seed)
    return k, torch.rand(n, count, generator=generator).topk(k).indices, generator


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), count=st.integers(1, 5), data=st.data(), seed=st.integers(0, 10**6))
def test_slots_are_sorted_by_expert_first_choices_first(n, count, data, seed):
    k, chosen, generator = routing(n, count, data, seed)
    slots = Slots(chosen, count)
    expected = sorted((int(chosen[token, j]), j, token) for j in range(k) for token in range(n))
    got = [
        (int(e), int(s) // n, int(s) % n) for e, s in zip(slots.expert, slots.order, strict=True)
    ]
    assert got == expected
    assert slots.counts.tolist() == [sum(e == i for e, _, _ in expected) for i in range(count)]
    queue = {}
    for (e, _, _), rank in zip(expected, slots.rank().tolist(), strict=True):
        assert rank == queue.get(e, 0)
        queue[e] = rank + 1
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(n * k, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    spread = torch.stack([x[token] for _, _, token in expected])
    assert torch.equal(slots.spread(x), spread)
    assert (slots.spread(x) * y).sum().item() == pytest.approx((slots.collect(y) * x).sum().item())
    assert torch.autograd.gradcheck(slots.spread, x) and torch.autograd.gradcheck(slots.collect, y)
    assert torch.autograd.gradgradcheck(lambda z: slots.collect(slots.spread(z) ** 2), x)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), count=st.integers(1, 5), data=st.data(), seed=st.integers(0, 10**6))
def test_padded_groups_begin_at_multiples_and_change_no_sum_and_no_gradient(n, count, data, seed):
    k, chosen, generator = routing(n, count, data, seed)
    plain, padded = Slots(chosen, count), Slots(chosen, count, multiple=4)
    sizes = padded.ends.diff(prepend=padded.ends.new_zeros(1))
    assert sizes.tolist() == [-(-c // 4) * 4 for c in plain.counts.tolist()]
    assert torch.equal(padded.counts, plain.counts) and torch.equal(padded.rank(), plain.rank())
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    factor = torch.rand(n * k, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)

    def result(slots, x, factor):
        y = grouped_linear(slots.spread(x), weight, slots.ends)
        return slots.collect(y**2 * slots.factors(factor).unsqueeze(1))

    ours, wanted = result(padded, x, factor), result(plain, x, factor)
    torch.testing.assert_close(ours, wanted)
    pulled = [torch.autograd.grad(y.square().sum(), (x, factor)) for y in (ours, wanted)]
    torch.testing.assert_close(*pulled)
    assert torch.autograd.gradgradcheck(lambda *z: result(padded, *z), (x, factor))


@pytest.mark.parametrize("arguments", [{}, {"k": 1}, {"activation": "swiglu", "capacity": 1.0}])
def test_experts_in_bfloat16_are_near_those_of_the_loop(arguments):
    module, x = experts(width=16, hidden=32, dtype=torch.float32, **arguments), batch(40, 16)
    with torch.autocast("cpu", torch.bfloat16):
        compare(module, x.float(), 0.05)
    assert row_multiple("cpu", torch.bfloat16) > 1 == row_multiple("cpu", torch.float32)


def test_balance_loss_is_1_for_even_routing_and_grows_with_unevenness():
    module = experts(count=4, k=2, balance=1.0)
    with torch.no_grad():
        module.router.zero_()
    run = ForwardPass()
    module(batch(8), run)
    assert run.losses[0].item() == pytest.approx(1.0)  # equal probabilities give 1 for any load
    with torch.no_grad():
        module.router.copy_(torch.tensor([30.0, 20.0, -20.0, -20.0])[:, None].expand(4, 8))
    run = ForwardPass()
    module(batch(8).abs(), run)
    assert run.losses[0].item() == pytest.approx(2.0, rel=1e-3)  # 4 · (½ · 1 + ½ · 0)


def test_the_router_of_one_choice_learns_from_the_loss():
    module = experts(k=1, balance=0.0)
    module(batch(6), ForwardPass()).square().sum().backward()
    assert bool(module.router.grad.ne(0).any())


def test_the_first_choice_is_served_before_the_second():
    module = experts(count=2, k=2, capacity=0.5)  # each expert serves 3 of its 6 slots
    x = batch(6)
    run = ForwardPass(seen={})
    out = module(x, run)
    assert run.seen["dropped_fraction"][0].item() == pytest.approx(0.5)
    first = (x[0] @ module.router.T).argmax(-1)
    served = [min(int((first == e).sum()), 3) for e in range(2)]
    assert int(out[0].ne(0).any(-1).sum()) >= sum(served)
    none = experts(count=2, k=2, capacity=1e-9)  # one slot each, of 12
    assert int(none(x, ForwardPass())[0].ne(0).any(-1).sum()) <= 2


def test_noise_changes_routing_in_training_mode_from_its_own_generator():
    module = experts(noise=2.0, k=1)
    x = batch(40)
    with pytest.raises(RuntimeError, match="set_noise"):
        module(x, ForwardPass())
    state = torch.get_rng_state()
    outputs = [
        module(x, ForwardPass(generator=torch.Generator().manual_seed(s))) for s in (3, 3, 4)
    ]
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert torch.equal(state, torch.get_rng_state())
    module.eval()
    assert torch.equal(module(x, ForwardPass()), experts(k=1)(x, ForwardPass()))
    wide = experts(width=2, count=2000, k=1, noise=0.5).train()
    run = ForwardPass(generator=torch.Generator().manual_seed(0))
    tokens = batch(50, 2)[0]
    drawn = wide.router_logits(tokens, run) - tokens @ wide.router.T
    assert drawn.std().item() == pytest.approx(0.5, rel=0.02)


def test_what_is_watched_of_the_experts():
    module = experts(count=4, k=2, capacity=0.8)
    x = batch(30)
    run = ForwardPass(seen={})
    module(x, run)
    seen = {metric: layers[0] for metric, layers in run.seen.items()}
    chosen = (x[0] @ module.router.T).topk(2).indices.flatten()
    load = torch.stack([(chosen == e).double().mean() for e in range(4)])
    torch.testing.assert_close(seen["expert_load"].double(), load, rtol=0, atol=1e-6)
    entropy = -(load * load.log()).sum().item() / math.log(4)
    assert seen["expert_load_entropy"].item() == pytest.approx(entropy, rel=1e-5)
    p = (x[0] @ module.router.T).softmax(-1)
    entropy = -(p * p.log()).sum(-1).mean().item() / math.log(4)
    assert seen["router_entropy"].item() == pytest.approx(entropy)
    assert relative_entropy(torch.tensor([1.0, 0.0])).item() == 0
    assert relative_entropy(torch.tensor([1.0])).item() == 1


def test_a_model_of_experts_sums_its_layers_losses_and_tells_their_load():
    sizes = dict(vocab=11, context=8, width=8, layers=3, heads=2, feedforward=8)
    model = Transformer(**sizes, experts=4, balance_loss=0.5, z_loss=0.25)
    model.initialise(0, "init")
    with pytest.raises(ValueError, match="expert_load"):
        model.expert_load()
    with model.watching() as seen:
        model(torch.arange(8)[None])
    loss = sum(0.5 * seen["balance_loss"][i] + 0.25 * seen["z_loss"][i] for i in range(3))
    torch.testing.assert_close(model.auxiliary_loss().detach(), loss)
    model.auxiliary_loss().backward()
    assert all(bool(b.experts.router.grad.ne(0).any()) for b in model.layers)
    torch.testing.assert_close(
        model.expert_load(), torch.stack([seen["expert_load"][i] for i in range(3)])
    )
    dense = Transformer(**sizes)
    dense.initialise(0, "init")
    dense(torch.arange(8)[None])
    assert dense.auxiliary_loss().item() == 0
    with pytest.raises(ValueError, match="expert_load"):
        dense.expert_load()


def test_equal_experts_are_one_feed_forward_part():
    module = experts(count=3, k=2)
    with torch.no_grad():
        module.up.copy_(module.up[:1].expand_as(module.up))
        module.down.copy_(module.down[:1].expand_as(module.down))
    x = batch(7)
    expected = F.linear(F.silu(F.linear(x, module.up[0])), module.down[0])
    torch.testing.assert_close(module(x, ForwardPass()), expected)


def test_a_token_that_is_not_a_number_spoils_no_other():
    module = experts()
    x = batch(6)
    clean = module(x, ForwardPass())
    x[0, 2] = math.nan
    out = module(x, ForwardPass())
    assert bool(out[0, 2].isnan().all())
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(out[0, others], clean[0, others])
