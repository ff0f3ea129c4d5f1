"""Newton–Schulz against scalar polynomials of exact singular values (numpy, float64)."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from muonlab.optim import iteration
from muonlab.optim.coefficients import SCHEDULES, schedule, triples
from muonlab.optim.iteration import cut, gram_flops, make_plan, plain_flops, tolerated, tolerates
from muonlab.optim.newton_schulz import newton_schulz

TABLE_STEPS = {"jordan": 5, "quintic": 5, "polar_express": 5, "cans": 5, "polar8": 8}
# Where singular values ≥ 1e-3 of the norm land, and the relative Frobenius distance to the polar
# factor of a Gaussian 512 × 512 and 512 × 2048 matrix in bfloat16 (project's own measurements).
BANDS = {
    "jordan": (0.47, 1.20),
    "quintic": (0.47, 1.15),
    "polar_express": (0.85, 1.14),
    "cans": (0.88, 1.12),
    "polar8": (1.00, 1.00),
}
ERRORS = {
    "jordan": (0.191, 0.145),
    "quintic": (0.110, 0.020),
    "polar_express": (0.127, 0.098),
    "cans": (0.113, 0.090),
    "polar8": (0.040, 0.029),
}


def with_spectrum(sigma: np.ndarray, m: int, n: int, rng) -> tuple[np.ndarray, ...]:
    """U, σ, Vᵀ of a random m × n matrix with these singular values."""
    k = min(m, n)
    U = np.linalg.qr(rng.standard_normal((m, k)))[0]
    V = np.linalg.qr(rng.standard_normal((n, k)))[0]
    return U, sigma[:k], V.T


def reference(U, sigma, Vt, name, steps: int, dtype=torch.float64) -> np.ndarray:
    """The iteration in exact arithmetic: its scalar polynomials on the singular values."""
    plan = schedule(name)
    x = sigma / (np.linalg.norm(sigma) * plan.norm_factor)
    for a, b, c in tolerated(triples(name, steps), plan.norm_factor, dtype):
        if plan.renormalise:
            x = x / np.linalg.norm(x)
        x = a * x + b * x**3 + c * x**5
    return (U * x) @ Vt


def spectrum(kind: str, k: int, rng) -> np.ndarray:
    i = np.arange(k) / max(1, k - 1)
    return {
        "gaussian": np.abs(rng.standard_normal(k)) + 0.1,
        "1e3": 10 ** (-3 * i),
        "1e8": 10 ** (-8 * i),
        "dominated": np.where(i == 0, 1.0, 1e-2),
        "power": 1 / (1 + i * k),
        "half": np.where(i < 0.5, 1.0, 1e-4),
        "deficient": np.where(i < 0.5, 1.0, 0.0),
    }[kind]


SPECTRA = ("gaussian", "1e3", "1e8", "dominated", "power", "half", "deficient")
sides = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(
    m=sides,
    n=sides,
    kind=st.sampled_from(SPECTRA),
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 10),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_follows_the_scalar_polynomial(m, n, kind, name, steps, dtype, seed):
    rng = np.random.default_rng(seed)
    parts = with_spectrum(spectrum(kind, min(m, n), rng), m, n, rng)
    G = torch.from_numpy((parts[0] * parts[1]) @ parts[2]).to(dtype)
    expected = reference(*parts, name, steps)
    found = newton_schulz(G, name, steps, dtype=dtype).double().numpy()
    # Float32 knows a vanished singular value only to u of the largest, times the slope at zero.
    slope = np.prod([t[0] for t in triples(name, steps)])
    tolerance = 1e-6 if dtype == torch.float64 else 0.02 + 3e-7 * slope
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16)])
@pytest.mark.parametrize("name", sorted(BANDS))
def test_singular_values_land_in_the_band(name, shape):
    rng = np.random.default_rng(0)
    sigma = np.geomspace(1, 2e-3, min(shape))
    sigma = np.maximum(sigma, 1.001e-3 * np.linalg.norm(sigma))
    U, s, Vt = with_spectrum(sigma, *shape, rng)
    found = newton_schulz(torch.from_numpy((U * s) @ Vt), name, TABLE_STEPS[name])
    landed = torch.linalg.svdvals(found)
    low, high = BANDS[name]
    assert landed.min() >= low - 0.01
    assert landed.max() <= high + 0.01


@pytest.mark.parametrize(("side", "aspect"), [(512, 1), (256, 4)])
def test_bfloat16_error_is_at_most_the_measured_one(side, aspect):
    """Half the measurement's side for the wide one: bfloat16 is slow where it is emulated."""
    G = torch.randn(side, side * aspect, generator=torch.Generator().manual_seed(1))
    exact = newton_schulz(G, "exact")
    for name, errors in ERRORS.items():
        found = newton_schulz(G, name, TABLE_STEPS[name], dtype=torch.bfloat16)
        error = (found - exact).norm() / exact.norm()
        assert error < errors[aspect // 4] + 0.012, name


def plain_bfloat16(G, name, steps):
    """Jordan's loop as published: bfloat16 throughout, on the wide orientation."""
    X = G.mT if G.size(0) > G.size(1) else G
    factor = schedule(name).norm_factor
    X = (X / (X.norm() * factor)).bfloat16()
    for a, b, c in tolerated(triples(name, steps), factor, torch.bfloat16):
        A = X @ X.mT
        X = a * X + (b * A + c * A @ A) @ X
    return (X.mT if G.size(0) > G.size(1) else X).float()


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("kind", SPECTRA)
def test_gram_space_in_bfloat16_is_as_exact_as_the_plain_iteration(monkeypatch, kind, blocks):
    if blocks:  # as in larger matrices
        monkeypatch.setattr(iteration, "LARGE_WORK", 1)
        monkeypatch.setattr(iteration, "SYMMETRIC_ROWS", 16)
        monkeypatch.setattr(iteration, "SYMMETRIC_ROWS_OF_LONG", 16)
    rng = np.random.default_rng(3)
    U, s, Vt = with_spectrum(spectrum(kind, 96, rng), 96, 384, rng)
    for name, steps in [*TABLE_STEPS.items(), ("jordan", 10), ("conservative", 10)]:
        assert_as_exact_as_plain(U, s, Vt, name, steps)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("name", TABLE_STEPS)
def test_large_matrices_are_exact_in_float32_whatever_their_spectrum(name, power):
    """Singular values that fall as a power of their rank, as those of gradients do."""
    rng = np.random.default_rng(5)
    s = np.arange(1, 385.0) ** -power
    U, s, Vt = with_spectrum(s, 384, 800, rng)
    G = torch.from_numpy((U * s) @ Vt)
    expected = newton_schulz(G, name, TABLE_STEPS[name], dtype=torch.float64)
    found = newton_schulz(G.float(), name, TABLE_STEPS[name], dtype=torch.float32)
    assert (found - expected).norm() <= iteration.WIDE_LIMIT * expected.norm()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 64),
    log_rest=st.floats(-6, -1),
    schedule_and_steps=st.sampled_from([*TABLE_STEPS.items(), ("jordan", 10)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_gram_space_in_bfloat16_survives_dominating_directions(
    rows, log_rest, schedule_and_steps, seed
):
    """One direction carries nearly all of the norm and lies in a few rows, so R is all but that."""
    rng = np.random.default_rng(seed)
    u = np.zeros(64)
    u[:rows] = rng.standard_normal(rows)
    G = np.outer(u, rng.standard_normal(256))
    G = G / np.linalg.norm(G) + 10**log_rest * rng.standard_normal(G.shape) / 16
    U, s, Vt = np.linalg.svd(G, full_matrices=False)
    assert_as_exact_as_plain(U, s, Vt, *schedule_and_steps)


def assert_as_exact_as_plain(U, s, Vt, name, steps):
    G = torch.from_numpy((U * s) @ Vt).float()
    expected = torch.from_numpy(reference(U, s, Vt, name, steps, torch.bfloat16)).float()
    ours = newton_schulz(G, name, steps, dtype=torch.bfloat16) - expected
    plain = plain_bfloat16(G, name, steps) - expected
    assert ours.norm() <= 1.2 * plain.norm() + 0.03 * expected.norm(), name


def test_gram_space_without_restarts_diverges_in_bfloat16(monkeypatch):
    """Why segments are needed: one segment of five steps on a dominated spectrum."""
    rng = np.random.default_rng(3)
    U, s, Vt = with_spectrum(spectrum("dominated", 96, rng), 96, 384, rng)
    G = torch.from_numpy((U * s) @ Vt).float()
    good = newton_schulz(G, dtype=torch.bfloat16)
    iteration.make_plan.cache_clear()
    monkeypatch.setattr(iteration, "cut", lambda triples, *_: (triples,))
    bad = newton_schulz(G, dtype=torch.bfloat16)
    iteration.make_plan.cache_clear()
    assert good.norm() < 1.2 * 96**0.5
    assert not bad.norm() < 10 * 96**0.5


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(2, 96),
    power=st.floats(0, 3),
    rank=st.integers(1, 96),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whether_a_gram_matrix_is_spread_is_a_matter_of_its_row_norms(m, power, rank, dtype, seed):
    """However the rows' sizes fall, whatever the rank: the diagonal only decides where it can."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, 128))
    X *= np.arange(1, m + 1.0)[:, None] ** -power
    X = torch.from_numpy(X / np.linalg.norm(X)).to(dtype)
    R = torch.stack([torch.eye(m, dtype=dtype) / m, X @ X.mT])
    largest = R.double().norm(dim=-1).max().item()
    assume(abs(largest / iteration.SPREAD - 1) > 0.02)
    assert iteration.is_spread(R) == (largest <= iteration.SPREAD)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    m=sides,
    n=sides,
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_batched_equals_one_by_one(batch, m, n, dtype, seed):
    G = torch.randn(2, batch, m, n, generator=torch.Generator().manual_seed(seed))
    together = newton_schulz(G, dtype=dtype)
    alone = torch.stack([newton_schulz(g, dtype=dtype) for g in G.flatten(0, 1)]).view_as(G)
    assert (together - alone).norm() <= 2e-3 * alone.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*sorted(SCHEDULES), "exact"])
def test_degenerate_input(name, dtype):
    zero = torch.zeros(3, 5)
    assert torch.equal(newton_schulz(zero, name, dtype=dtype), zero)
    one_row = torch.randn(1, 9, generator=torch.Generator().manual_seed(0))
    found = newton_schulz(one_row, name, 5, dtype=dtype)
    cosine = torch.cosine_similarity(found, one_row).item()
    assert cosine == pytest.approx(1, abs=2e-2 if dtype == torch.bfloat16 else 1e-6)
    assert newton_schulz(torch.zeros(0, 3, 5), name).shape == (0, 3, 5)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6, 1e15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scale_of_the_gradient_does_not_matter(scale, dtype):
    G = torch.randn(150, 300, generator=torch.Generator().manual_seed(2))
    expected = newton_schulz(G, dtype=dtype)
    found = newton_schulz(G * scale, dtype=dtype)
    assert (found - expected).norm() <= 0.02 * expected.norm()


def test_nan_stays_in_its_matrix():
    G = torch.randn(3, 4, 6)
    G[1, 0, 0] = torch.nan
    found = newton_schulz(G)
    assert found[1].isnan().any()
    assert found[[0, 2]].isfinite().all()


def test_input_is_only_read():
    for dtype in (torch.float32, torch.float64):
        G = torch.randn(6, 4, dtype=dtype)
        before = G.clone()
        newton_schulz(G)
        assert torch.equal(G, before)


def test_exact_is_the_polar_factor():
    rng = np.random.default_rng(5)
    U, s, Vt = with_spectrum(np.array([3.0, 1.0, 1e-4, 0.0]), 4, 7, rng)
    found = newton_schulz(torch.from_numpy((U * s) @ Vt), "exact").numpy()
    np.testing.assert_allclose(found, U[:, :3] @ Vt[:3], atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 12),
    m=st.integers(1, 3000),
    aspect=st.floats(1, 8),
)
def test_plan_takes_the_cheaper_iteration_and_all_triples(name, steps, m, aspect):
    n = int(m * aspect)
    given_triples = triples(name, steps)
    plan = make_plan(schedule(name), given_triples, n, m, torch.float32)
    assert tuple(t for s in plan.segments for t in s) == given_triples
    if plan.gram:
        assert gram_flops(plan.spread_segments, m, n) < 0.9 * plain_flops(steps, m, n)


def test_a_schedule_at_the_edge_is_moved_away_from_it():
    for name, steps in TABLE_STEPS.items():
        given_triples, factor = triples(name, steps), schedule(name).norm_factor
        assert tolerated(given_triples, factor, torch.float32) == given_triples
        moved = tolerated(given_triples, factor, torch.bfloat16)
        assert tolerates(moved, factor, torch.bfloat16)
        assert all(a[0] / 1.05 <= b[0] <= a[0] for a, b in zip(given_triples, moved, strict=True))
    assert not tolerates(triples("cans", 5), 1.0, torch.bfloat16)


def test_segments_of_half_precision_are_short():
    jordan = triples("jordan", 5)
    assert [len(s) for s in cut(jordan, torch.bfloat16)] == [2, 2, 1]
    assert [len(s) for s in cut(jordan, torch.bfloat16, iteration.SPREAD)] == [3, 2]
    assert [len(s) for s in cut(jordan, torch.float32)] == [5]


@pytest.mark.parametrize("side", [400, 513])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_symmetric_product_is_the_product(side, dtype):
    generator = torch.Generator().manual_seed(side)
    A = torch.randn(side, 1000, generator=generator).to(dtype)
    C = torch.randn(side, side, generator=generator)
    C = (C + C.mT).to(dtype)
    found = iteration.symmetric_product(A, A.mT, C, 0.5, 2.0)
    expected = 0.5 * C.double() + 2.0 * A.double() @ A.double().mT
    assert torch.equal(found, found.mT)
    bound = torch.finfo(dtype).eps * expected.abs().max()
    assert (found.double() - expected).abs().max() <= 4 * bound


@pytest.mark.parametrize("work", [1, 10**12])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("length", [40, 70])  # short and `LONG`
def test_products_of_a_batch_are_those_of_its_matrices(monkeypatch, work, buffered, length):
    monkeypatch.setattr(iteration, "LARGE_WORK", work)
    monkeypatch.setattr(iteration, "SYMMETRIC_ROWS", 5)
    monkeypatch.setattr(iteration, "SYMMETRIC_ROWS_OF_LONG", 3)
    generator = torch.Generator().manual_seed(work % 7)
    A, X = (torch.randn(3, 16, n, generator=generator, dtype=torch.float64) for n in (16, length))
    R = A @ A.mT
    for multiply, left, right, add in (
        (iteration.product, A, X, X),
        (iteration.product, X.mT, A, None),
        (iteration.symmetric_product, X, X.mT, R),
        (iteration.symmetric_product, R, R, None),
    ):
        out = torch.full_like(left @ right, torch.nan) if buffered else None
        found = multiply(left, right, add, 0.5 if add is not None else 0.0, 2.0, out)
        expected = 2 * left @ right if add is not None else left @ right
        expected = expected if add is None else expected + 0.5 * add
        assert out is None or found is out
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("G", "arguments", "message"),
    [
        (torch.ones(3), {}, "matrices"),
        (torch.ones(3, 3, dtype=torch.int64), {}, "floating-point"),
        (torch.ones(3, 3), {"steps": 0}, "at least 1"),
        (torch.ones(3, 3), {"coefficients": "jordon"}, "jordon"),
        (torch.ones(3, 3), {"coefficients": [(1.0, 2.0)]}, "triples"),
    ],
)
def test_mistakes_are_named(G, arguments, message):
    with pytest.raises(ValueError, match=message):
        newton_schulz(G, **arguments)


def test_a_schedule_is_judged_over_all_singular_values_that_the_norm_leaves():
    """x + 10x⁵ keeps what lies under 0.6 small, and sends 1 to 11."""
    steep = ((1.0, 0.0, 10.0),)
    assert not tolerates(steep, 1.0, torch.float32)
    assert tolerates(steep, 2.0, torch.float32)
