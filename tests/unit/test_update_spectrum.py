"""Updates with other singular values: by float64, on degenerate matrices, across checkpoints."""

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.models.mlp import MLP
from muonlab.optim.factory import build_optimizer
from muonlab.optim.muon import Muon
from muonlab.optim.newton_schulz import exact_polar_factor
from muonlab.optim.normuon import NorMuon
from muonlab.optim.update_spectrum import draw, new_stream, with_spectrum

POWERS = [-0.5, 0.0, 0.5, 1.0]
SHAPES = [(12, 20), (20, 12), (1, 7), (7, 1), (1, 1), (3, 9, 5), (270, 260), (2, 270, 260)]


def matrix(shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parameters(shapes, seed=0):
    return [torch.nn.Parameter(matrix(s, seed + i) * 0.1) for i, s in enumerate(shapes)]


def steps(optimizer, params, seeds):
    for seed in seeds:
        for i, p in enumerate(params):
            p.grad = matrix(p.shape, 1000 * seed + i)
        optimizer.step()
    return [p.detach().clone() for p in params]


@settings(max_examples=40, deadline=None)
@given(
    stack=st.lists(st.integers(1, 3), max_size=2),
    m=st.integers(1, 12),
    n=st.integers(1, 12),
    power=st.sampled_from([-1.0, *POWERS, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_a_power_is_that_of_numpys_singular_values(stack, m, n, power, seed):
    G = matrix((*stack, m, n), seed, torch.float64)
    found = with_spectrum(G, power)
    assert found.shape == G.shape and found.dtype == G.dtype
    for update, given_matrix in zip(
        found.reshape(-1, m, n).numpy(), G.reshape(-1, m, n).numpy(), strict=True
    ):
        u, s, v = np.linalg.svd(given_matrix, full_matrices=False)
        f = (s / s[0]) ** power
        f *= np.sqrt(len(s)) / np.linalg.norm(f)
        np.testing.assert_allclose(update, (u * f) @ v, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_spectra_have_the_size_of_the_polar_factor(shape):
    G = matrix(shape)
    polar = exact_polar_factor(G)
    torch.testing.assert_close(with_spectrum(G, 0.0), polar, rtol=0, atol=2e-6)
    size = polar.norm(dim=(-2, -1))
    stream = new_stream([("w", G)], [G])
    whole = G if G.ndim == 3 else G[None]
    drawn = draw(stream | {"updates": 1}, [(0, None)], 0, whole).view(*G.shape[:-2], -1)
    for found in [*(with_spectrum(G, p) for p in POWERS), with_spectrum(G, "random", drawn)]:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=(-2, -1)), size, rtol=1e-5, atol=0)
    scaled = with_spectrum(G, 1.0)
    torch.testing.assert_close(
        scaled / scaled.norm(dim=(-2, -1), keepdim=True), G / G.norm(dim=(-2, -1), keepdim=True)
    )


@pytest.mark.parametrize("spectrum", [*POWERS, "random"])
def test_degenerate_matrices_give_no_nan_and_keep_their_rank(spectrum):
    low = (matrix((20, 1), 1) @ matrix((1, 12), 2)).float()
    two = matrix((20, 2), 3) @ matrix((2, 12), 4)
    G = torch.stack([torch.zeros(20, 12), low, two, low * 1e-30, low * 1e30])
    drawn = matrix((5, 12), 9).abs().double()
    found = with_spectrum(G, spectrum, drawn)
    assert torch.isfinite(found).all() and found[0].eq(0).all()
    for update, rank in zip(found[1:], [1, 2, 1, 1], strict=True):
        sigma = torch.linalg.svdvals(update.double())
        assert (sigma > 1e-4).sum() == rank
        assert update.norm() == pytest.approx(rank**0.5, rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("spectrum", [-0.5, "random"])
def test_what_is_not_finite_spoils_its_own_matrix_alone(bad, spectrum):
    G = matrix((3, 6, 4))
    drawn = torch.ones(3, 4)
    whole = with_spectrum(G, spectrum, drawn)
    G[1, 2, 3] = bad
    found = with_spectrum(G, spectrum, drawn)
    assert found[1].isnan().all()
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])


def test_a_negative_power_turns_the_order_of_the_singular_values_round():
    G = matrix((8, 8), 5)
    u, s, v = torch.linalg.svd(G)
    inverted = (u.mT @ with_spectrum(G, -0.5) @ v.mT).diagonal()
    assert (inverted.diff() > 0).all() and (s.diff() < 0).all()


@pytest.mark.parametrize("spectrum", [*POWERS, "random"])
@pytest.mark.parametrize("cls", [Muon, NorMuon])
def test_updates_of_every_spectrum_have_the_promised_size(cls, spectrum):
    for shape in [(15, 40), (40, 15), (3, 12, 20), (270, 300)]:
        (p,) = parameters([shape])
        before = p.detach().clone()
        steps(cls([p], lr=1.0, weight_decay=0.0, update_spectrum=spectrum), [p], [3])
        rms = (p.detach() - before).square().mean((-2, -1)).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, 0.2), rtol=1e-4, atol=0)


def test_power_zero_is_muon_with_the_exact_polar_factor():
    ours, theirs = parameters(SHAPES), parameters(SHAPES)
    found = steps(Muon(ours, lr=0.02, update_spectrum=0.0), ours, range(3))
    expected = steps(Muon(theirs, lr=0.02, ns_coefficients="exact"), theirs, range(3))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", [4, [3, 9], {"columns": 2}])
@pytest.mark.parametrize("spectrum", [-0.5, "random"])
def test_blocks_are_matrices_of_their_own(split, spectrum):
    (p,) = parameters([(12, 20)])
    before = p.detach().clone()
    optimizer = Muon(
        [p], lr=1.0, weight_decay=0.0, momentum=0.0, split=split, update_spectrum=spectrum
    )
    steps(optimizer, [p], [1])
    dim = 1 if isinstance(split, dict) else 0
    sizes = split if isinstance(split, list) else p.size(dim) // (2 if dim else split)
    moved = (before - p.detach()).split(sizes, dim)
    for update, G in zip(moved, p.grad.split(sizes, dim), strict=True):
        assert update.square().mean().sqrt() == pytest.approx(0.2, rel=1e-4)
        if spectrum != "random":
            same = with_spectrum(G, spectrum)
            torch.testing.assert_close(update / update.norm(), same / same.norm())


@pytest.mark.parametrize("spectrum", [-0.5, "random"])
def test_resuming_is_bitwise(spectrum):
    whole = parameters(SHAPES)
    expected = steps(Muon(whole, update_spectrum=spectrum), whole, range(5))
    first = parameters(SHAPES)
    optimizer = Muon(first, update_spectrum=spectrum)
    steps(optimizer, first, range(2))
    file = io.BytesIO()
    torch.save([[p.detach() for p in first], optimizer.state_dict()], file)
    kept = copy.deepcopy(optimizer.state_dict()["param_groups"])
    state = optimizer.state_dict()["param_groups"]
    steps(optimizer, first, [9])
    assert state == kept, "a state dict that is held in memory does not move on"
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second = [torch.nn.Parameter(w) for w in weights]
    resumed = Muon(second, update_spectrum=spectrum)
    resumed.load_state_dict(state)
    for a, b in zip(steps(resumed, second, range(2, 5)), expected, strict=True):
        assert torch.equal(a, b)


def mlp_after(seed, components=("input", "hidden"), updates=2):
    shape = {"inputs": 6, "classes": 3, "width": 5, "depth": 2}
    model = MLP(**shape, bias=False, activation="relu")
    model.initialise(seed, "init")
    section = {"name": "muon", "lr": 0.1, "components": list(components), "adamw": {"lr": 0.0}}
    optimizer = build_optimizer(model, section | {"update_spectrum": "random"})
    for update in range(updates):
        for i, p in enumerate(model.parameters()):
            p.grad = matrix(p.shape, 10 * update + i)
        optimizer.step()
    return {n: p.detach() for n, p in model.named_parameters()}, optimizer, model


def test_draws_follow_from_the_run_the_name_and_the_update_alone():
    one, optimizer, model = mlp_after(1)
    random_state = torch.get_rng_state()
    copy.deepcopy(optimizer).step()
    assert torch.equal(torch.get_rng_state(), random_state), "no other stream has moved"
    again = mlp_after(1)[0]
    assert all(torch.equal(one[n], again[n]) for n in one)
    components = model.components()
    alone = mlp_after(1, ["hidden"])[0]
    for name, part in components.items():
        if part == "hidden":
            torch.testing.assert_close(alone[name], one[name], rtol=0, atol=1e-7)
    streams = [mlp_after(s, updates=1)[1].param_groups[0]["spectrum_stream"] for s in (1, 2)]
    assert streams[0]["key"] != streams[1]["key"]
    like = torch.empty(1, 5, 6)
    first = draw(streams[0], [(0, None)], 0, like)
    for other in (
        draw(streams[1], [(0, None)], 0, like),
        draw(streams[0], [(1, None)], 0, like),
        draw(streams[0] | {"updates": 2}, [(0, None)], 0, like),
        draw(streams[0], [(0, None)], 1, like),
        draw(streams[0], [(0, 3)], 0, like),
    ):
        assert not torch.equal(first, other)
    assert torch.equal(first, draw(streams[0], [(0, None)], 0, like))


def test_draws_are_the_absolute_values_of_normal_numbers():
    stream = {"key": 7, "updates": 1, "names": ["w"]}
    values = draw(stream, [(0, None)], 0, torch.empty(400, 50, 60)).flatten()
    assert (values >= 0).all()
    assert values.square().mean() == pytest.approx(1, abs=0.05)
    assert values.mean() == pytest.approx((2 / np.pi) ** 0.5, abs=0.02)


def test_a_stream_follows_from_every_value_and_name_of_the_model():
    named = [("a", torch.tensor(1.0)), ("b", matrix((3, 4)).T), ("c", torch.zeros(2).bfloat16())]
    keys = {new_stream(named, [])["key"]}
    for place in range(3):
        changed = [(n, p + 1 if i == place else p) for i, (n, p) in enumerate(named)]
        keys.add(new_stream(changed, [])["key"])
    keys.add(new_stream([("z", named[0][1]), *named[1:]], [])["key"])
    assert len(keys) == 5


def test_without_a_spectrum_nothing_is_drawn_or_kept():
    params = parameters(SHAPES[:3])
    optimizer = Muon(params)
    steps(optimizer, params, [0])
    assert "spectrum_stream" not in optimizer.param_groups[0]


@pytest.mark.parametrize("value", ["flat", 3.0, float("nan"), True])
def test_a_spectrum_that_there_is_not_is_refused(value):
    with pytest.raises(ValueError, match="update_spectrum: must be null, random or a power"):
        Muon(parameters([(3, 4)]), update_spectrum=value)


def test_a_spectrum_needs_an_orthogonalized_update():
    with pytest.raises(ValueError, match="update_spectrum: needs orthogonalize: true"):
        Muon(parameters([(3, 4)]), update_spectrum=0.5, orthogonalize=False)
