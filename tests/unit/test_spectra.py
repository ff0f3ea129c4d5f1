import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from muonlab.measure import singular_values as spectra
from muonlab.measure.singular_values import (
    batched_by_shape,
    power_law_tail,
    singular_values,
    spectral_metrics,
    spectral_records,
    spectrum_metrics,
)

SCALARS = [
    "spectral_norm",
    "spectral_gap",
    "frobenius_norm",
    "condition_number",
    "stable_rank",
    "spectral_entropy",
    "effective_rank",
    "top_k_energy",
    "orthogonality_error",
    "alpha",
    "alpha_ks",
]


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_definition(W: np.ndarray, top_k: int) -> dict[str, float]:
    """The table of formulas, each from the matrix itself where it can be."""
    s = np.linalg.svd(W, compute_uv=False)
    p, q = s**2 / np.sum(s**2), s / np.sum(s)
    short = W / s[0] if W.shape[0] >= W.shape[1] else W.T / s[0]
    d = short.shape[1]
    return {
        "spectral_norm": np.linalg.norm(W, 2),
        "spectral_gap": s[0] / s[1],
        "frobenius_norm": np.linalg.norm(W),
        "condition_number": np.linalg.cond(W),
        "stable_rank": np.linalg.norm(W) ** 2 / np.linalg.norm(W, 2) ** 2,
        "spectral_entropy": -np.sum(p * np.log(p)) / np.log(d),
        "effective_rank": np.exp(-np.sum(q * np.log(q))),
        "top_k_energy": np.sum(p[:top_k]),
        "orthogonality_error": np.linalg.norm(short.T @ short - np.eye(d)) / np.sqrt(d),
    }


@settings(max_examples=60, deadline=None)
@given(m=st.integers(2, 40), n=st.integers(2, 40), seed=st.integers(0, 10**6), k=st.integers(1, 50))
def test_every_formula_equals_its_definition_in_numpy(m, n, seed, k):
    W = gaussian(m, n, seed=seed)
    measured = spectral_metrics(W, top_k=k)
    assert list(measured) == SCALARS
    for name, expected in by_definition(W.numpy(), k).items():
        assert measured[name].item() == pytest.approx(expected, rel=1e-7, abs=1e-10), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-140, 140))
def test_scaling_a_matrix_scales_its_norms_and_nothing_else(seed, exponent):
    W, c = gaussian(60, 70, seed=seed), 10.0**exponent
    plain, scaled = spectral_metrics(W), spectral_metrics(c * W)
    for name in SCALARS:
        factor = c if name in ("spectral_norm", "frobenius_norm") else 1.0
        assert scaled[name].item() == pytest.approx(factor * plain[name].item(), rel=1e-8), name


def test_a_stack_equals_its_matrices_one_by_one_and_its_transposes():
    W = gaussian(2, 3, 64, 80, dtype=torch.float32)
    stacked, transposed = spectral_metrics(W), spectral_metrics(W.mT)
    for name in SCALARS:
        assert stacked[name].shape == (2, 3) and stacked[name].dtype == torch.float64
        single = torch.stack([spectral_metrics(w)[name] for w in W.flatten(0, 1)])
        torch.testing.assert_close(stacked[name].flatten(), single, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(stacked[name], transposed[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_weights_are_measured_in_float64(dtype):
    W = gaussian(20, 30).to(dtype)
    expected = np.linalg.svd(W.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(W).numpy(), expected, rtol=1e-12)


def test_semi_orthogonal_matrix_is_flat_and_full():
    Q = 3.0 * torch.linalg.qr(gaussian(50, 20)).Q
    m = {name: value.item() for name, value in spectral_metrics(Q, top_k=5).items()}
    for name in ("spectral_gap", "condition_number", "spectral_entropy"):
        assert m[name] == pytest.approx(1.0, abs=1e-12)
    assert m["stable_rank"] == pytest.approx(20) and m["effective_rank"] == pytest.approx(20)
    assert m["top_k_energy"] == pytest.approx(5 / 20)
    assert m["orthogonality_error"] == pytest.approx(0.0, abs=1e-12)


def test_zero_matrix():
    m = {name: value.item() for name, value in spectral_metrics(torch.zeros(60, 70)).items()}
    undefined = ("spectral_gap", "alpha", "alpha_ks")
    assert all(math.isnan(m.pop(name)) for name in undefined)
    assert m.pop("orthogonality_error") == 1.0 and m.pop("condition_number") == math.inf
    assert set(m.values()) == {0.0}


@settings(max_examples=30, deadline=None)
@given(m=st.integers(2, 30), n=st.integers(2, 30), seed=st.integers(0, 10**6))
def test_rank_one_matrix(m, n, seed):
    W = gaussian(m, 1, seed=seed) @ gaussian(1, n, seed=seed + 1)
    got = spectral_metrics(W)
    assert torch.count_nonzero(singular_values(W)) == 1
    assert got["spectral_gap"] == math.inf and got["condition_number"] == math.inf
    assert got["spectral_entropy"].item() == pytest.approx(0.0, abs=1e-12)
    assert got["stable_rank"].item() == pytest.approx(1.0)
    assert got["effective_rank"].item() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1)])
def test_single_row_or_column(shape):
    W = gaussian(*shape)
    got = spectral_metrics(W)
    assert got["spectral_norm"].item() == pytest.approx(W.norm().item())
    assert got["condition_number"] == 1.0 and got["spectral_gap"] == math.inf
    assert got["stable_rank"] == 1.0 and got["effective_rank"] == 1.0 and got["top_k_energy"] == 1.0
    assert got["orthogonality_error"] == 0.0 and got["spectral_entropy"].isnan()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_matrix_is_all_nan_and_leaves_its_neighbours_alone(bad):
    W = gaussian(3, 60, 70)
    clean = spectral_metrics(W)
    W[1, 5, 5] = bad
    got = spectral_metrics(W)
    for name in SCALARS:
        assert got[name][1].isnan(), name
        torch.testing.assert_close(got[name][[0, 2]], clean[name][[0, 2]])


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(0, 3), torch.ones(3, 3).int()])
def test_no_matrix_is_a_value_error(bad):
    with pytest.raises(ValueError, match="floating-point tensor"):
        singular_values(bad)
    with pytest.raises(ValueError, match="top_k"):
        spectral_metrics(torch.ones(2, 2), top_k=0)


def tail_by_definition(x: np.ndarray) -> tuple[float, float, float]:
    """Clauset et al. 2009 in loops, with scipy's two-sided KS statistic."""
    fits = []
    for x_min in np.unique(x)[:-1]:
        tail = x[x >= x_min]
        alpha = 1 + len(tail) / np.sum(np.log(tail / x_min))
        cdf = lambda t, a=alpha, low=x_min: 1 - (t / low) ** (1 - a)  # noqa: E731
        fits.append((kstest(tail, cdf).statistic, alpha, x_min))
    ks, alpha, x_min = min(fits)
    return alpha, x_min, ks


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(50, 90), ties=st.booleans())
def test_power_law_tail_equals_the_procedure_in_loops(seed, n, ties):
    x = np.random.default_rng(seed).lognormal(size=n)
    x = np.round(x, 1) + 0.1 if ties else x
    fit = power_law_tail(torch.from_numpy(x))
    np.testing.assert_allclose(fit, tail_by_definition(x), rtol=1e-8)


def test_power_law_tail_recovers_a_pareto_exponent():
    n, alpha = 2000, 3.0
    x = (1 - np.random.default_rng(1).random(n)) ** (-1 / (alpha - 1))
    fit = power_law_tail(torch.from_numpy(x))
    n_tail = np.sum(x >= fit.x_min)
    assert abs(fit.alpha - alpha) < 4 * (alpha - 1) / math.sqrt(n_tail)  # eq. 3.2
    assert fit.ks < 1.36 / math.sqrt(n_tail)  # the 5 % critical value


def test_power_law_tail_needs_fifty_different_positive_values():
    x = torch.linspace(1, 2, spectra.MIN_EIGENVALUES, dtype=torch.float64)
    assert math.isfinite(power_law_tail(x).alpha)
    assert power_law_tail(torch.cat([x, torch.zeros(30).double()])) == power_law_tail(x)
    for bad in (x[1:], torch.ones(80), torch.cat([x[1:], torch.zeros(30).double()])):
        assert all(map(math.isnan, power_law_tail(bad)))
    assert all(map(math.isnan, power_law_tail(torch.cat([x, torch.tensor([math.nan])]))))


def test_equal_shapes_share_one_decomposition(monkeypatch):
    tensors = {
        "a": gaussian(4, 6, seed=1),
        "experts": gaussian(3, 4, 6, seed=2),
        "other": gaussian(6, 4, seed=3),
        "b": gaussian(4, 6, seed=4),
    }
    batches = list(batched_by_shape(tensors))
    labels = [("a", None), ("experts", 0), ("experts", 1), ("experts", 2), ("b", None)]
    assert [names for names, _ in batches] == [labels, [("other", None)]]
    torch.testing.assert_close(batches[0][1][2], tensors["experts"][1])
    small = list(batched_by_shape(tensors, max_elements=50))
    assert [len(names) for names, _ in small] == [2, 2, 1, 1]
    assert [name for names, _ in small for name in names] == [*labels, ("other", None)]

    calls, svdvals = [], torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda W: calls.append(W.shape) or svdvals(W))
    spectral_records(tensors)
    assert calls == [(5, 4, 6), (1, 6, 4)]


def test_records_hold_every_metric_of_every_matrix():
    tensors = {"w": gaussian(3, 5), "experts": torch.nn.Parameter(gaussian(2, 3, 5, seed=1))}
    records = spectral_records(tensors, top_k=2, whole_spectrum=True)
    scalars = {
        (r["tensor"], r["expert"], r["metric"]): r["value"] for r in records if "index" not in r
    }
    assert len(scalars) == 3 * len(SCALARS)
    expected = spectrum_metrics(singular_values(tensors["experts"][1]), top_k=2)
    for name in SCALARS:
        value = scalars["experts", 1, name]
        assert value == pytest.approx(expected[name].item(), nan_ok=True)
    spectrum = [r for r in records if r["metric"] == "singular_values" and r["tensor"] == "w"]
    assert [r["index"] for r in spectrum] == [0, 1, 2]
    expected = np.linalg.svd(tensors["w"].numpy(), compute_uv=False)
    np.testing.assert_allclose([r["value"] for r in spectrum], expected)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 2)])
def test_records_refuse_what_is_no_matrix(shape):
    with pytest.raises(ValueError, match="'norm.weight' must be a matrix"):
        spectral_records({"norm.weight": torch.zeros(shape)})
