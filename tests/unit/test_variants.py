"""The variants: properties that their papers' equations promise."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.optim.adamuon import AdaMuon
from muonlab.optim.dion import Dion, dion_update, first_basis
from muonlab.optim.muon import Muon
from muonlab.optim.muonclip import MuonClip, qk_clip_
from muonlab.optim.newton_schulz import newton_schulz
from muonlab.optim.normuon import NorMuon
from muonlab.optim.soap import SOAP
from muonlab.optim.spectral import Spectral

SHAPES = [(15, 40), (40, 15), (15, 15), (3, 12, 20), (270, 300), (2, 300, 260)]
CLASSES = [NorMuon, AdaMuon, MuonClip, Spectral, Dion, SOAP]


def parameters(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator) * 0.1) for s in shapes]


def steps(optimizer, params, seeds):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach().clone() for p in params]


def moved(cls, shape, seeds=(0, 1, 2), **arguments):
    """The last update of a lone parameter under weight decay 0 and lr 1."""
    (p,) = parameters([shape])
    optimizer = cls([p], lr=1.0, weight_decay=0.0, **arguments)
    steps(optimizer, [p], seeds[:-1])
    before = p.detach().clone()
    steps(optimizer, [p], seeds[-1:])
    return before - p.detach(), p, optimizer


@pytest.mark.parametrize("cls", CLASSES)
def test_resuming_is_bitwise_and_gradients_are_only_read(cls):
    whole = parameters(SHAPES)
    expected = steps(cls(whole, lr=0.01), whole, range(4))
    first = parameters(SHAPES)
    optimizer = cls(first, lr=0.01)
    steps(optimizer, first, range(2))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    resumed = cls(second, lr=0.01)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for a, b in zip(steps(resumed, second, range(2, 4)), expected, strict=True):
        assert torch.equal(a, b)
    before = [p.grad.clone() for p in second]
    resumed.step()
    assert all(torch.equal(p.grad, g) for p, g in zip(second, before, strict=True))


@pytest.mark.parametrize("cls", CLASSES)
def test_a_zero_gradient_moves_nothing_and_a_stack_is_its_matrices(cls):
    (p,) = parameters([(3, 12, 20)])
    before = p.detach().clone()
    optimizer = cls([p], lr=0.1, weight_decay=0.0)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(p.detach(), before)
    (stack,) = parameters([(3, 12, 20)])
    alone = [torch.nn.Parameter(w.clone()) for w in stack.detach()]
    together, apart = cls([stack], lr=0.1), cls(alone, lr=0.1)
    for seed in range(3):
        steps(together, [stack], [seed])
        for q, g in zip(alone, stack.grad, strict=True):
            q.grad = g.clone()
        apart.step()
    for q, w in zip(alone, stack.detach(), strict=True):
        torch.testing.assert_close(w, q.detach(), atol=2e-4, rtol=0)


@pytest.mark.parametrize("cls", CLASSES)
def test_learns_a_matrix(cls):
    """Each variant fits W to a target: the loss falls at least tenfold."""
    target = torch.randn(12, 20, generator=torch.Generator().manual_seed(1))
    p = torch.nn.Parameter(torch.zeros(12, 20))
    # Dion moves a quarter of the directions at a time.
    peak = 0.4 if cls is Dion else 0.1
    optimizer = cls([p], lr=peak, weight_decay=0.0)
    for k in range(150):
        optimizer.param_groups[0]["lr"] = peak * (1 - k / 150)
        p.grad = p.detach() - target
        optimizer.step()
    assert (p.detach() - target).square().mean() < 0.1 * target.square().mean()


@pytest.mark.parametrize("cls", [NorMuon, AdaMuon])
@pytest.mark.parametrize("shape", [(15, 40), (40, 15), (270, 300)])
def test_updates_have_the_promised_size(cls, shape):
    update, _, _ = moved(cls, shape)
    assert update.square().mean().sqrt() == pytest.approx(0.2, rel=1e-3)
    plain, _, _ = moved(Muon, shape, scale="original")
    if cls is NorMuon:
        kept, _, _ = moved(cls, shape, scale="original")
        assert kept.norm() == pytest.approx(plain.norm().item(), rel=1e-3)


@pytest.mark.parametrize("cls", [NorMuon, AdaMuon, MuonClip, Spectral, Dion])
@pytest.mark.parametrize("shape", [(15, 40), (40, 15), (3, 12, 20), (270, 300)])
def test_fixed_rms_is_exact_in_every_variant(cls, shape):
    update, _, _ = moved(cls, shape, scale="fixed_rms")
    sizes = update.square().mean((-2, -1)).sqrt()
    torch.testing.assert_close(sizes, torch.full_like(sizes, 0.2), rtol=1e-4, atol=0)


@pytest.mark.parametrize("cls", [NorMuon, AdaMuon])
@pytest.mark.parametrize("split", [[5, 10, 25], {"columns": 3}])
def test_blocks_of_a_normalised_update_have_sizes_of_their_own(cls, split):
    update, _, _ = moved(cls, (40, 60), split=split, scale="fixed_rms")
    parts = update.split(20, 1) if isinstance(split, dict) else update.split(split)
    for part in parts:
        assert part.square().mean().sqrt() == pytest.approx(0.2, rel=1e-4)


def test_normuon_gives_every_neuron_one_size_in_the_long_run():
    """With β₂ = 0 all rows of the update have one norm; Muon's differ."""
    for shape in [(30, 12), (280, 260)]:
        update, _, optimizer = moved(NorMuon, shape, beta2=0.0)
        norms = update.norm(dim=1)
        assert norms.max() / norms.min() < 1.001
        plain = moved(Muon, shape)[0].norm(dim=1)
        assert plain.max() / plain.min() > 1.1


def test_normuon_follows_its_equations():
    update, p, optimizer = moved(NorMuon, (12, 20), seeds=(5,), beta2=0.9)
    U = (1 - 0.95) * p.grad + 0.95 * 0.05 * p.grad
    O = newton_schulz(U)  # noqa: E741
    v = 0.1 * O.square().mean(1, keepdim=True)
    torch.testing.assert_close(optimizer.state[p]["second_moment"], v, rtol=1e-4, atol=1e-7)
    expected = O / (v.sqrt() + 1e-8)
    expected *= 0.2 * (12 * 20) ** 0.5 / expected.norm()
    torch.testing.assert_close(update, expected, rtol=1e-3, atol=1e-4)


def test_adamuon_follows_its_equations():
    update, p, _ = moved(AdaMuon, (270, 280), seeds=(5,), dtype="float32")
    O = newton_schulz(p.grad.sign())  # noqa: E741
    clear = O.abs() > 1e-3
    torch.testing.assert_close(update[clear], 0.2 * O.sign()[clear], rtol=1e-3, atol=0)
    without = moved(AdaMuon, (270, 280), seeds=(5,), sign=False, dtype="float32")[0]
    assert not torch.equal(without.sign(), update.sign())


@settings(max_examples=20, deadline=None)
@given(
    heads=st.integers(1, 4),
    group=st.integers(1, 3),
    size=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_qk_clip_brings_logits_to_the_threshold_and_touches_no_other_head(heads, group, size, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = heads * group
    query = torch.randn(queries * size, 7, generator=generator, dtype=torch.float64)
    key = torch.randn(heads * size, 7, generator=generator, dtype=torch.float64)
    x = torch.randn(9, 7, generator=generator, dtype=torch.float64)

    def largest():
        q = (x @ query.T).view(9, queries, size).transpose(0, 1)
        k = (x @ key.T).view(9, heads, size).transpose(0, 1).repeat_interleave(group, 0)
        return (q @ k.mT).abs().amax((1, 2))

    before = largest()
    threshold = before.median().item()
    qk_clip_(query, key, before, threshold)
    torch.testing.assert_close(largest(), before.clamp_max(threshold))


def test_muonclip_clips_after_the_update():
    query, key = parameters([(8, 6), (8, 6)])
    optimizer = MuonClip([query, key], lr=0.1, threshold=2.0)
    plain = copy.deepcopy([query, key])
    optimizer.targets = lambda: [(query, key, torch.tensor([8.0, 1.0]))]
    steps(optimizer, [query, key], [0])
    steps(Muon(plain, lr=0.1), plain, [0])
    for clipped, p in zip([query, key], plain, strict=True):
        torch.testing.assert_close(clipped[:4].detach(), p[:4].detach() * 0.5)
        assert torch.equal(clipped[4:].detach(), p[4:].detach())
    with pytest.raises(ValueError, match="heads"):
        qk_clip_(torch.ones(8, 6), torch.ones(6, 6), torch.ones(4), 1.0)


@settings(max_examples=15, deadline=None)
@given(m=st.integers(1, 20), n=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_spectral_descent_is_steepest_in_the_spectral_norm(m, n, seed):
    generator = torch.Generator().manual_seed(seed)
    p = torch.nn.Parameter(torch.zeros(m, n, dtype=torch.float64))
    p.grad = torch.randn(m, n, generator=generator, dtype=torch.float64)
    optimizer = Spectral([p], lr=1.0, scale="none", weight_decay=0.0, ns_coefficients="exact")
    optimizer.step()
    gain = -(p.grad * p.detach()).sum()
    other = torch.randn(m, n, generator=generator, dtype=torch.float64)
    other /= torch.linalg.matrix_norm(other, 2)
    assert torch.linalg.matrix_norm(p.detach(), 2) == pytest.approx(1.0)
    assert gain == pytest.approx(torch.linalg.matrix_norm(p.grad, "nuc").item())
    assert gain >= (p.grad * other).sum() - 1e-9
    assert optimizer.param_groups[0]["momentum"] == 0


def test_dion_update_is_low_rank_orthonormal_and_keeps_what_it_left_out():
    torch.manual_seed(0)
    G = torch.randn(20, 30, dtype=torch.float64)
    momentum, basis = torch.zeros_like(G), first_basis(G, 0.25)
    assert basis.shape == (30, 5)
    update = dion_update(G, momentum, basis, 0.9)
    values = torch.linalg.svdvals(update)
    assert (values[5:] < 1e-12).all()
    torch.testing.assert_close(basis.norm(dim=0), torch.ones(5, dtype=torch.float64))
    # The column space that was applied decays by μ, the rest of the momentum is untouched.
    P = torch.linalg.svd(update).U[:, :5]
    torch.testing.assert_close(P.T @ momentum, 0.9 * P.T @ G)
    torch.testing.assert_close(momentum - P @ (P.T @ momentum), G - P @ (P.T @ G))


def test_dion_of_full_rank_converges_to_the_polar_factor():
    torch.manual_seed(1)
    U = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(12, 8, dtype=torch.float64)).Q
    G = U @ torch.diag(1.5 ** -torch.arange(8, dtype=torch.float64)) @ V.T
    momentum, basis = torch.zeros_like(G), first_basis(G, 1.0)
    for _ in range(60):
        momentum.zero_()
        update = dion_update(G, momentum, basis, 0.9)
    torch.testing.assert_close(update, newton_schulz(G, "exact"), atol=1e-6, rtol=0)


def test_soap_without_rotation_is_adamw():
    shapes = [(6, 9), (2, 4, 5)]
    ours, theirs = parameters(shapes), parameters(shapes)
    same = dict(lr=0.01, eps=1e-8, weight_decay=0.1)
    soap = SOAP(ours, max_side=1, beta1=0.9, beta2=0.95, **same)
    steps(soap, ours, [8])  # the first gradient moves nothing
    found = steps(soap, ours, range(8))
    expected = steps(torch.optim.AdamW(theirs, betas=(0.9, 0.95), **same), theirs, range(8))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_soap_turns_with_the_coordinates():
    """Rotated gradients give rotated updates, which AdamW's do not."""
    torch.manual_seed(2)
    U, V = (torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q for _ in range(2))
    straight, turned = (torch.nn.Parameter(torch.zeros(6, 6).double()) for _ in range(2))
    a, b = (SOAP([p], lr=0.1, frequency=2, weight_decay=0.0) for p in (straight, turned))
    for _ in range(5):
        straight.grad = torch.randn(6, 6, dtype=torch.float64)
        turned.grad = U @ straight.grad @ V.T
        a.step(), b.step()
    torch.testing.assert_close(turned.detach(), U @ straight.detach() @ V.T, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (Dion, {"rank_fraction": 0.0}, "rank_fraction"),
        (Dion, {"momentum": 1.0}, "momentum"),
        (Dion, {"scale": "x"}, "scale"),
        (Dion, {"lr": -1.0}, "lr"),
        (SOAP, {"weight_decay": -0.1}, "weight_decay"),
        (SOAP, {"beta2": 1.0}, "beta2"),
        (SOAP, {"frequency": 0}, "frequency"),
    ],
)
def test_mistakes_are_named(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(parameters([(3, 4)]), **arguments)
    with pytest.raises(TypeError, match="nonsense"):
        cls(parameters([(3, 4)]), nonsense=1)
    with pytest.raises(ValueError, match="AdamW"):
        cls([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match="float32"):
        cls([torch.nn.Parameter(torch.ones(3, 3, dtype=torch.bfloat16))])


@pytest.mark.parametrize("cls", CLASSES)
def test_sparse_gradients_are_refused(cls):
    (p,) = parameters([(40, 40)])
    p.grad = torch.eye(40).to_sparse()
    with pytest.raises(ValueError, match="sparse"):
        cls([p]).step()


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (NorMuon, {"beta2": 1.0}, "beta2"),
        (AdaMuon, {"eps": -1.0}, "eps"),
        (MuonClip, {"threshold": 0.0}, "threshold"),
        (Spectral, {"ns_steps": 0}, "ns_steps"),
    ],
)
def test_mistakes_of_muons_family_are_named(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(parameters([(3, 4)]), **arguments)
    with pytest.raises(TypeError, match="nonsense"):
        cls(parameters([(3, 4)]), nonsense=1)
