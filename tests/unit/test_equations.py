"""Every optimizer for matrices against its equations, written out step by step in float64."""

import math

import pytest
import torch

from muonlab.optim.adamuon import AdaMuon
from muonlab.optim.coefficients import SCHEDULES
from muonlab.optim.dion import Dion, first_basis
from muonlab.optim.muon import Muon
from muonlab.optim.normuon import NorMuon
from muonlab.optim.soap import SOAP
from muonlab.optim.spectral import Spectral

STEPS = 5
SHAPES = [(6, 10), (10, 6)]


def tensor(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def follow(cls, shape, factors=None, **arguments):
    """The weights after each of a few updates, and the gradients that made them."""
    p = torch.nn.Parameter(tensor(shape, 99))
    optimizer = cls([p], **arguments)
    seen, grads = [p.detach().clone()], []
    for step in range(STEPS):
        if factors is not None:
            optimizer.param_groups[0]["lr"] = arguments["lr"] * factors[step]
        p.grad = tensor(shape, step)
        optimizer.step()
        seen.append(p.detach().clone())
        grads.append(p.grad.clone())
    return seen, grads


def polar(G):
    """Five steps of the quintic of Jordan (2024), from the matrix over its Frobenius norm."""
    X = G / G.norm()
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X


def directions(grads, momentum, nesterov):
    """What is orthogonalized at each update: M ← μM + (1−μ)G, and G looked ahead with Nesterov."""
    M = torch.zeros_like(grads[0])
    for G in grads:
        M = momentum * M + (1 - momentum) * G
        yield (1 - momentum) * G + momentum * M if nesterov else M


def agree(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


SCALES = {
    "match_rms_adamw": lambda X: 0.2 * math.sqrt(max(X.shape)),
    "original": lambda X: math.sqrt(max(1, X.size(0) / X.size(1))),
    "none": lambda X: 1.0,
    "fixed_rms": lambda X: 0.2 * math.sqrt(X.numel()) / X.norm(),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale", SCALES)
def test_muon(shape, nesterov, scale):
    fields = dict(momentum=0.8, nesterov=nesterov, scale=scale, weight_decay=0.3)
    seen, grads = follow(Muon, shape, lr=0.05, **fields)
    for k, U in enumerate(directions(grads, 0.8, nesterov)):
        O = polar(U)  # noqa: E741
        agree(seen[k + 1], (1 - 0.05 * 0.3) * seen[k] - 0.05 * SCALES[scale](O) * O)


def test_muon_without_orthogonalization_is_momentum():
    fields = dict(momentum=0.8, nesterov=True, scale="none", weight_decay=0.0)
    seen, grads = follow(Muon, (6, 10), lr=0.05, orthogonalize=False, **fields)
    for k, U in enumerate(directions(grads, 0.8, True)):
        agree(seen[k + 1], seen[k] - 0.05 * U)


@pytest.mark.parametrize("independent", [True, False])
def test_the_decay_of_muon_follows_the_rate_or_the_schedule_alone(independent):
    factors = [0.5, 1.0, 0.75, 0.2, 0.0]
    fields = dict(scale="none", weight_decay=0.3, independent_decay=independent)
    seen, grads = follow(Muon, (6, 10), factors, lr=0.05, **fields)
    for k, U in enumerate(directions(grads, 0.95, True)):
        decay = 0.3 * factors[k] * (1 if independent else 0.05)
        agree(seen[k + 1], (1 - decay) * seen[k] - 0.05 * factors[k] * polar(U))


def test_spectral_descent_forgets():
    seen, grads = follow(Spectral, (6, 10), lr=0.05, scale="none", weight_decay=0.0)
    for k, G in enumerate(grads):
        agree(seen[k + 1], seen[k] - 0.05 * polar(G))


@pytest.mark.parametrize("shape", SHAPES)
def test_normuon(shape):
    fields = dict(momentum=0.8, beta2=0.6, eps=0.01, weight_decay=0.3)
    seen, grads = follow(NorMuon, shape, lr=0.05, **fields)
    v = torch.zeros(shape[0], 1, dtype=torch.float64)
    for k, U in enumerate(directions(grads, 0.8, True)):
        O = polar(U)  # noqa: E741
        v = 0.6 * v + 0.4 * O.square().mean(1, keepdim=True)
        update = O / (v.sqrt() + 0.01)
        update = update * SCALES["fixed_rms"](update)
        agree(seen[k + 1], (1 - 0.05 * 0.3) * seen[k] - 0.05 * update)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sign", [True, False])
def test_adamuon(shape, sign):
    fields = dict(momentum=0.8, beta2=0.6, eps=0.01, weight_decay=0.3, sign=sign)
    seen, grads = follow(AdaMuon, shape, lr=0.05, **fields)
    v = torch.zeros(shape, dtype=torch.float64)
    for k, U in enumerate(directions(grads, 0.8, True)):
        O = polar(U.sign() if sign else U)  # noqa: E741
        v = 0.6 * v + 0.4 * O.square()
        update = O / (v.sqrt() + 0.01)
        update = update * SCALES["fixed_rms"](update)
        agree(seen[k + 1], (1 - 0.05 * 0.3) * seen[k] - 0.05 * update)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", ["match_rms_adamw", "fixed_rms"])
def test_dion(shape, scale):
    fields = dict(momentum=0.8, rank_fraction=0.5, scale=scale, weight_decay=0.3)
    seen, grads = follow(Dion, shape, lr=0.05, **fields)
    M, Q = torch.zeros(shape, dtype=torch.float64), first_basis(seen[0], 0.5)
    assert Q.shape == (shape[1], 3)
    for k, G in enumerate(grads):
        B = M + G
        P = torch.linalg.qr(B @ Q).Q
        R = B.T @ P
        M = B - 0.2 * P @ R.T
        Q = R / R.norm(dim=0)
        update = P @ Q.T
        agree(seen[k + 1], (1 - 0.05 * 0.3) * seen[k] - 0.05 * SCALES[scale](update) * update)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("longest", [100, 8])
def test_soap(shape, longest):
    """Adam in the eigenbasis, which the first gradient sets; it takes one orthogonal iteration at
    every second update."""
    b1, b2, eps = 0.7, 0.9, 0.01
    fields = dict(beta1=b1, beta2=b2, eps=eps, frequency=2, max_side=longest, weight_decay=0.3)
    seen, grads = follow(SOAP, shape, lr=0.05, **fields)
    first, second = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    grams = [lambda G: G @ G.T, lambda G: G.T @ G]
    rotated = [size <= longest for size in shape]
    covariance = [(1 - b2) * gram(grads[0]) for gram in grams]
    bases = [
        torch.linalg.eigh(C).eigenvectors.flip(-1) if r else torch.eye(len(C)).double()
        for C, r in zip(covariance, rotated, strict=True)
    ]
    agree(seen[1], seen[0])
    for k, G in enumerate(grads[1:]):
        left, right = bases
        first = b1 * first + (1 - b1) * G
        second = b2 * second + (1 - b2) * (left.T @ G @ right).square()
        m, v = first / (1 - b1 ** (k + 1)), second / (1 - b2 ** (k + 1))
        update = left @ ((left.T @ m @ right) / (v.sqrt() + eps)) @ right.T
        agree(seen[k + 2], (1 - 0.05 * 0.3) * seen[k + 1] - 0.05 * update)
        covariance = [
            b2 * C + (1 - b2) * gram(G) for C, gram in zip(covariance, grams, strict=True)
        ]
        if (k + 1) % 2 == 0:
            bases = [
                torch.linalg.qr(C @ Q).Q if r else Q
                for C, Q, r in zip(covariance, bases, rotated, strict=True)
            ]


def test_soap_does_not_amplify_rounding_errors():
    """Gradients that differ by rounding lead to weights that differ little. (With a first gradient
    that is not square, a part of the eigenbasis is open, and so is the result.)"""
    shape = (6, 6)
    ends = []
    for relative in (0.0, 1e-6):
        generator = torch.Generator().manual_seed(3)
        p = torch.nn.Parameter(torch.zeros(shape))
        optimizer = SOAP([p], lr=0.1)
        for _ in range(3):
            p.grad = torch.randn(shape, generator=generator)
            p.grad *= 1 + relative * torch.randn(shape, generator=generator)
            optimizer.step()
        ends.append(p.detach())
    assert ends[0].abs().max() > 0.05
    torch.testing.assert_close(ends[0], ends[1], atol=1e-3, rtol=0)


# ---------------------------------------------------------------- coefficients

# Of K. Jordan (2024), J. You, Amsel et al. 2025, Grishina et al. 2025, Emerging-Optimizers, and the
# public ablation, copied from there: triples, factor on the norm, normalised again at each step.
PUBLISHED = {
    "jordan": ([(3.4445, -4.7750, 2.0315)], 1, False),
    "quintic": (
        [
            (4.0848, -6.8946, 2.9270),
            (3.9505, -6.3029, 2.6377),
            (3.7418, -5.5913, 2.3037),
            (2.8769, -3.1427, 1.2046),
            (2.8366, -3.0525, 1.2012),
        ],
        1,
        False,
    ),
    "polar_express": (
        [
            (8.1566, -22.4833, 15.8788),
            (4.0429, -2.8089, 0.5000),
            (3.8917, -2.7725, 0.5061),
            (3.2858, -2.3681, 0.4645),
            (2.3465, -1.7098, 0.4232),
        ],
        1.02,
        False,
    ),
    "cans": (
        [
            (8.4703, -25.1081, 18.6293),
            (4.1828, -3.1087, 0.5806),
            (3.9619, -2.9541, 0.5630),
            (3.2866, -2.4647, 0.5074),
            (2.2737, -1.6447, 0.4162),
        ],
        1,
        False,
    ),
    "polar8": (
        [
            (8.2051, -22.9019, 16.4607),
            (4.0664, -2.8612, 0.5184),
            (3.9096, -2.8234, 0.5250),
            (3.2856, -2.4153, 0.4853),
            (2.2779, -1.6198, 0.3985),
            (1.8726, -1.2307, 0.3585),
            (1.8564, -1.2132, 0.3568),
            (1.875, -1.25, 0.375),
        ],
        1.01,
        False,
    ),
    "conservative": ([(3.0, -4.0, 1.5)], 1, False),
    "mild_aggressive": ([(3.2, -4.2, 1.8)], 1, False),
    "ultra_stable": ([(2.8, -3.5, 1.2)], 1, True),
}


def test_the_coefficients_are_the_published_ones():
    assert SCHEDULES.keys() == PUBLISHED.keys()
    for name, (published, factor, renormalise) in PUBLISHED.items():
        found = SCHEDULES[name]
        assert list(found.triples) == published, name
        assert (found.norm_factor, found.renormalise) == (factor, renormalise), name
