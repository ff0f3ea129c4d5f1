"""Muon against torch.optim.Muon, against its own equations and across checkpoints."""

import copy
import io
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.optim.muon import Muon
from muonlab.optim.newton_schulz import newton_schulz

SHAPES = [(15, 784), (784, 15), (15, 15), (15, 15), (10, 15), (40, 48), (48, 40), (70, 300)]
LARGE = [(520, 530), (300, 260), (2, 270, 260)]


def parameters(shapes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(s, generator=generator, dtype=dtype) * 0.1 for s in shapes]
    return [torch.nn.Parameter(w) for w in draw]


def set_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def steps(optimizer, params, seeds):
    for seed in seeds:
        set_gradients(params, seed)
        optimizer.step()
    return [p.detach().clone() for p in params]


def torch_in_float32():
    """torch.optim.Muon always casts to bfloat16; this turns the cast off."""
    return patch.object(torch.Tensor, "bfloat16", lambda t: t.to(torch.float32, copy=True))


@settings(max_examples=15, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 48), st.integers(1, 48)), min_size=1, max_size=5),
    nesterov=st.booleans(),
    momentum=st.sampled_from([0.0, 0.9, 0.95]),
    scale=st.sampled_from(["original", "match_rms_adamw"]),
    seed=st.integers(0, 10**6),
)
def test_twenty_steps_track_torch(shapes, nesterov, momentum, scale, seed):
    ours, theirs = parameters(shapes, seed), parameters(shapes, seed)
    same = dict(lr=0.02, momentum=momentum, nesterov=nesterov, weight_decay=0.1)
    found = steps(Muon(ours, scale=scale, dtype="float32", **same), ours, range(seed, seed + 20))
    with torch_in_float32():
        muon = torch.optim.Muon(theirs, adjust_lr_fn=scale, **same)
        expected = steps(muon, theirs, range(seed, seed + 20))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-5 * max(1.0, b.abs().max().item())


@pytest.mark.parametrize("shapes", [SHAPES, LARGE[:2]])
def test_tracks_torch_on_every_path(shapes):
    ours, theirs = parameters(shapes), parameters(shapes)
    found = steps(Muon(ours, lr=0.02, dtype="float32"), ours, range(20 if shapes is SHAPES else 3))
    with torch_in_float32():
        muon = torch.optim.Muon(theirs, lr=0.02, adjust_lr_fn="match_rms_adamw")
        expected = steps(muon, theirs, range(20 if shapes is SHAPES else 3))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_bfloat16_products_stay_near_torch():
    ours, theirs = parameters(LARGE[:2]), parameters(LARGE[:2])
    found = steps(Muon(ours, lr=1.0, weight_decay=0.0, dtype="bfloat16"), ours, [1])
    muon = torch.optim.Muon(theirs, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    expected = steps(muon, theirs, [1])
    for a, b, start in zip(found, expected, parameters(LARGE[:2]), strict=True):
        assert (a - b).norm() <= 0.04 * (b - start.detach()).norm()


@settings(max_examples=20, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    ),
    nesterov=st.booleans(),
    orthogonalize=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_one_step_is_the_written_equation(shape, nesterov, orthogonalize, seed):
    mu, lr, wd = 0.9, 0.1, 0.2
    (p,) = parameters([shape], seed, torch.float64)
    W, M = p.detach().clone(), torch.zeros(shape, dtype=torch.float64)
    optimizer = Muon(
        [p],
        lr,
        momentum=mu,
        nesterov=nesterov,
        scale="none",
        weight_decay=wd,
        orthogonalize=orthogonalize,
    )
    for k in range(2):
        set_gradients([p], seed + k)
        G = p.grad.clone()
        optimizer.step()
        assert torch.equal(p.grad, G)
        M = mu * M + (1 - mu) * G
        U = (1 - mu) * G + mu * M if nesterov else M
        update = newton_schulz(U) if orthogonalize else U
        W = (1 - lr * wd) * W - lr * update
        torch.testing.assert_close(p.detach(), W, atol=1e-7, rtol=1e-7)
        torch.testing.assert_close(optimizer.state[p]["momentum_buffer"], M)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_stack_is_its_matrices(dtype):
    for shape in [(3, 20, 40), (2, 300, 400), (3, 100, 60)]:
        stack, alone = parameters([shape]), parameters([shape[1:]] * shape[0])
        for i, p in enumerate(alone):
            p.data.copy_(stack[0][i])
        set_gradients(stack, 5)
        for i, p in enumerate(alone):
            p.grad = stack[0].grad[i].clone()
        Muon(stack, dtype=dtype).step()
        Muon(alone, dtype=dtype).step()
        together = torch.stack([p.detach() for p in alone])
        torch.testing.assert_close(stack[0].detach(), together, atol=2e-4, rtol=0)


def test_the_company_of_other_parameters_does_not_matter():
    shapes = SHAPES + LARGE
    together = parameters(shapes)
    steps(Muon(together, dtype="float32"), together, range(3))
    for i, p in enumerate(parameters(shapes)):
        optimizer = Muon([p], dtype="float32")
        for seed in range(3):
            everything = parameters(shapes)
            set_gradients(everything, seed)
            p.grad = everything[i].grad
            optimizer.step()
        torch.testing.assert_close(p.detach(), together[i].detach(), atol=1e-6, rtol=0)


def test_update_rms_matches_adamw():
    for shape in [(320, 320), (512, 512), (512, 2048), (768, 256)]:
        (p,) = parameters([shape])
        before = p.detach().clone()
        steps(Muon([p], lr=1.0, weight_decay=0.0), [p], [3])
        rms = (p.detach() - before).square().mean().sqrt()
        assert 0.18 <= rms <= 0.20, (shape, rms)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ns_coefficients": "exact"},
        {"ns_coefficients": "ultra_stable", "ns_steps": 10},
        {"ns_steps": 6, "momentum": 0.0},
        {"orthogonalize": False},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_fixed_rms_is_the_root_mean_square_of_every_matrix(fields):
    """Experts and blocks one by one, whatever made the update; its direction stays."""
    shapes = [(15, 40), (40, 15), (7, 7), (3, 12, 20), (1, 9), (40, 48), (48, 40), (2, 270, 260)]
    same = dict(lr=1.0, weight_decay=0.0) | fields
    found, plain = parameters(shapes), parameters(shapes)
    for params, scale in ((found, "fixed_rms"), (plain, "none")):
        optimizer = Muon(params, scale=scale, **same)
        set_gradients(params, 3)
        for p in params:
            p.data.zero_()
        params[2].grad.zero_()
        params[3].grad[1].mul_(1e-9)
        optimizer.step()
    for p, q, shape in zip(found, plain, shapes, strict=True):
        assert q.eq(0).all() == (shape == (7, 7))
        sizes = q.detach().square().mean((-2, -1), keepdim=True).sqrt()
        expected = 0.2 * q.detach() / sizes.clamp_min(1e-30)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5)


def test_fixed_rms_holds_for_each_block_and_leaves_decay_alone():
    """With zero gradients only the decay moves a weight; blocks of a split have 0.2 each."""
    (p,) = parameters([(60, 20)])
    before = p.detach().clone()
    optimizer = Muon([p], lr=0.5, split=[10, 50], scale="fixed_rms", weight_decay=0.1)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(p.detach(), 0.95 * before)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    before = p.detach().clone()
    set_gradients([p], 0)
    p.grad[:10] *= 1e3
    optimizer.step()
    for block in (before - p.detach()).split([10, 50]):
        assert block.square().mean().sqrt() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("dtype", [None, "bfloat16", "auto"])
def test_resuming_is_bitwise(dtype):
    # Half precision is slow where it is emulated: without the largest there.
    shapes = SHAPES + (LARGE if dtype is None else LARGE[1:])
    whole = parameters(shapes)
    expected = steps(Muon(whole, dtype=dtype), whole, range(5))
    first = parameters(shapes)
    optimizer = Muon(first, dtype=dtype)
    steps(optimizer, first, range(2))
    file = io.BytesIO()
    torch.save([[p.detach() for p in first], optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second = [torch.nn.Parameter(w) for w in weights]
    resumed = Muon(second)
    resumed.load_state_dict(state)
    for a, b in zip(steps(resumed, second, range(2, 5)), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "options",
    [{"backend": "aot_eager"}, pytest.param({}, marks=pytest.mark.slow)],
    ids=["traced", "compiled"],
)
def test_a_compiled_step_is_the_eager_one(options):
    """To 1e-6 in float32: the same products, other roundings. A schedule compiles nothing again."""
    shapes = [(48, 64), (48, 64), (2, 40, 36), (64, 200)]
    same = dict(lr=0.02, dtype="float32")
    eager, compiled = parameters(shapes), parameters(shapes)
    plain, fast = (
        Muon([{"params": p[:2]}, {"params": p[2:], "scale": "fixed_rms"}], **same, compile=compile)
        for p, compile in ((eager, False), (compiled, options))
    )
    for k in range(3):
        for optimizer, params in ((plain, eager), (fast, compiled)):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (1 + k)
            steps(optimizer, params, [k])
        if k == 0:
            compilations = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compilations > 0
    for p, q in zip(eager, compiled, strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("compile", [False, True, {"mode": "reduce-overhead"}])
def test_a_gpu_steps_like_a_cpu_without_synchronising(compile):
    shapes = [(64, 64), (64, 64), (2, 300, 400), (512, 1536), (1536, 512)]
    on_cpu = parameters(shapes)
    on_gpu = [torch.nn.Parameter(p.detach().cuda()) for p in on_cpu]
    slow = Muon(on_cpu, lr=0.02, dtype="float32")
    fast = Muon(on_gpu, lr=0.02, dtype="float32", compile=compile)
    for seed in range(3):
        set_gradients(on_cpu, seed)
        for p, q in zip(on_cpu, on_gpu, strict=True):
            q.grad = p.grad.cuda()
        slow.step()
        torch.cuda.set_sync_debug_mode("error" if seed else "default")
        fast.step()
        torch.cuda.set_sync_debug_mode("default")
    for p, q in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(p, q.cpu(), atol=1e-4, rtol=0)


def test_a_copy_of_the_optimizer_goes_on_alike():
    params = parameters(SHAPES)
    optimizer = Muon(params)
    steps(optimizer, params, [0])
    twins, twin = copy.deepcopy((params, optimizer))
    for a, b in zip(steps(optimizer, params, [1]), steps(twin, twins, [1]), strict=True):
        assert torch.equal(a, b)


def test_parameters_without_gradient_stand_still():
    params = parameters(SHAPES)
    optimizer = Muon(params)
    steps(optimizer, params, [0])
    set_gradients(params, 1)
    before = [p.detach().clone() for p in params]
    for p in params[::2]:
        p.grad = None
    optimizer.step()
    for i, (p, old) in enumerate(zip(params, before, strict=True)):
        assert torch.equal(p.detach(), old) == (i % 2 == 0)
    assert [len(s) for s in (optimizer.state[p] for p in params)] == [1] * len(params)


def test_nan_and_zero_gradients_stay_in_their_matrix():
    params = parameters(SHAPES)
    optimizer = Muon(params, weight_decay=0.0)
    set_gradients(params, 0)
    params[2].grad[0, 0] = torch.nan
    params[3].grad.zero_()
    before = params[3].detach().clone()
    optimizer.step()
    assert torch.equal(params[3].detach(), before)
    finite = [bool(p.isfinite().all()) for p in params]
    assert finite == [i != 2 for i in range(len(params))]
    optimizer.state[params[2]]["momentum_buffer"].zero_()
    params[2].data.zero_()
    set_gradients(params, 1)
    optimizer.step()
    assert all(bool(p.isfinite().all()) for p in params)


@pytest.mark.parametrize(
    ("shape", "split", "parts"),
    [
        ((60, 20), 3, lambda t: t.split(20)),
        ((40, 30), [20, 10, 10], lambda t: t.split([20, 10, 10])),
        ((30, 40), {"columns": 4}, lambda t: t.split(10, 1)),
        ((640, 300), 2, lambda t: t.split(320)),
    ],
)
def test_split_parts_are_matrices_of_their_own(shape, split, parts):
    (whole,) = parameters([shape])
    alone = [torch.nn.Parameter(t.clone()) for t in parts(whole.detach())]
    set_gradients([whole], 4)
    for p, g in zip(alone, parts(whole.grad), strict=True):
        p.grad = g.clone()
    Muon([whole], split=split, dtype="float32").step()
    Muon(alone, dtype="float32").step()
    for p, w in zip(alone, parts(whole.detach()), strict=True):
        torch.testing.assert_close(w, p.detach(), atol=1e-6, rtol=0)


def test_independent_decay_follows_the_schedule_and_not_the_rate():
    for peak in (0.1, 0.001):
        (p,) = parameters([(20, 30)])
        optimizer = Muon([p], lr=peak, weight_decay=0.01, independent_decay=True)
        p.grad = torch.zeros_like(p)
        before = p.detach().clone()
        optimizer.param_groups[0]["lr"] = peak / 2
        optimizer.step()
        torch.testing.assert_close(p.detach(), before * (1 - 0.005))


def test_schedulers_closures_groups_and_scaled_gradients():
    params = parameters([(20, 30), (30, 20)])
    groups = [{"params": params[:1], "lr": 0.1}, {"params": params[1:]}]
    optimizer = Muon(groups, lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5**k)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def closure():
        optimizer.zero_grad()
        loss = sum(p.square().sum() for p in params)
        scaler.scale(loss).backward()
        return loss

    reference = copy.deepcopy(params)
    loss = closure()
    scaler.step(optimizer)
    scaler.update()
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.005]
    for p in reference:
        p.grad = 2 * p.detach()
    plain = Muon([{"params": reference[:1], "lr": 0.1}, {"params": reference[1:]}], lr=0.01)
    plain.step()
    for p, q in zip(params, reference, strict=True):
        torch.testing.assert_close(p, q)
    assert optimizer.step(closure).item() < loss.item()


def test_half_precision_weights_are_trained():
    (p,) = parameters([(40, 50)], dtype=torch.bfloat16)
    before = p.detach().clone()
    steps(Muon([p], lr=0.1), [p], range(3))
    assert p.isfinite().all()
    assert not torch.equal(p.detach(), before)


@pytest.mark.parametrize(
    ("parameter", "arguments", "message"),
    [
        (torch.ones(3), {}, "give it to AdamW"),
        (torch.ones(2, 2, 2, 2), {}, "matrices"),
        (torch.ones(3, 3), {"lr": -1.0}, "lr"),
        (torch.ones(3, 3), {"momentum": 1.0}, "momentum"),
        (torch.ones(3, 3), {"ns_steps": 0}, "ns_steps"),
        (torch.ones(3, 3), {"ns_steps": 2.5}, "ns_steps"),
        (torch.ones(3, 3), {"scale": "rms"}, "scale"),
        (torch.ones(3, 3), {"weight_decay": float("nan")}, "weight_decay"),
        (torch.ones(3, 3), {"ns_coefficients": "jordon"}, "jordon"),
        (torch.ones(3, 3), {"dtype": "float8"}, "dtype"),
        (torch.ones(4, 3), {"split": 3}, "split"),
        (torch.ones(4, 3), {"split": [1, 1]}, "split"),
    ],
)
def test_mistakes_are_named(parameter, arguments, message):
    with pytest.raises(ValueError, match=message):
        Muon([torch.nn.Parameter(parameter)], **arguments)


def test_integers_sparse_gradients_and_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="int64"):
        Muon([torch.nn.Parameter(torch.ones(3, 3, dtype=torch.int64), requires_grad=False)])
    with pytest.raises(TypeError, match="betas"):
        Muon(parameters([(3, 3)]), betas=(0.9, 0.9))
    (p,) = parameters([(40, 40)])
    p.grad = torch.eye(40).to_sparse()
    with pytest.raises(ValueError, match="sparse"):
        Muon([p]).step()
