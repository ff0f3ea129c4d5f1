import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from muonlab.measure import quantizers as quantization
from muonlab.measure.quantizers import (
    BITS,
    GROUP_SIZE,
    SCHEMES,
    quantile_scale,
    quantization_error,
    quantize,
    quantize_state,
)

MSE = {"tensor_mse": "tensor_quantile", "channel_mse": "channel_minmax"}  # a rival on equal blocks


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def error(w, bits, scheme):
    return quantization_error(w, quantize(w, bits, scheme))["relative_error"]


def levels(bits):
    return 2 ** (bits - 1) - 1


weights = st.builds(
    lambda m, n, seed, power, scale: scale * gaussian(m, n, seed=seed).pow(power),
    st.integers(1, 12),
    st.integers(1, 300),
    st.integers(0, 10**6),
    st.sampled_from([1, 3]),  # the cube has heavy tails
    st.sampled_from([1.0, 1e-6, 1e6]),
)
few_bits = st.sampled_from(BITS)
schemes = st.sampled_from(sorted(SCHEMES))
small = settings(max_examples=60, deadline=None)


# ---------------------------------------------------------------- the definition


@small
@given(w=weights, bits=few_bits, scheme=schemes)
def test_every_weight_is_the_nearest_level_and_within_half_a_step_inside_the_clip(w, bits, scheme):
    q = quantize(w, bits, scheme)
    s, L = q.scale_per_weight, levels(bits)
    assert q.values.shape == q.codes.shape == s.shape == w.shape
    assert q.codes.abs().max() <= L and q.codes.dtype == torch.int8
    torch.testing.assert_close(q.values, s * q.codes)
    inside = w.abs() <= (L + 0.5) * s
    distance = (w - q.values).abs()
    assert (distance[inside] <= s[inside] / 2 * (1 + 1e-12)).all()
    grid = s[..., None] * torch.arange(-L, L + 1)  # (m, n, 2L + 1)
    nearest = (w[..., None] - grid).abs().amin(-1)
    torch.testing.assert_close(distance, nearest, rtol=1e-9, atol=1e-12 * w.abs().max().item())


@small
@given(w=weights, bits=few_bits)
def test_scales_equal_their_definitions_in_numpy(w, bits):
    x, L = w.abs().numpy(), levels(bits)
    groups = [x[:, i : i + GROUP_SIZE].max(1) for i in range(0, x.shape[1], GROUP_SIZE)]
    expected = {
        "tensor_quantile": np.quantile(x, 0.999).reshape(1, 1) / L,
        "channel_minmax": x.max(1, keepdims=True) / L,
        "group_minmax": np.stack(groups, axis=1) / L,
    }
    for scheme, scale in expected.items():
        np.testing.assert_allclose(quantize(w, bits, scheme).scale.numpy(), scale, rtol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", BITS)
def test_the_number_of_levels(bits, scheme):
    q = quantize(gaussian(4, 1000), bits, scheme)
    assert q.codes.unique().numel() == 2 * levels(bits) + 1 or bits == 8
    if bits == 2 and scheme.startswith("tensor"):
        assert q.values.unique().tolist() == pytest.approx([-q.scale.item(), 0, q.scale.item()])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stacked_experts_are_quantized_one_by_one(scheme):
    w = gaussian(3, 5, 200) * torch.tensor([1.0, 10.0, 0.0]).reshape(3, 1, 1)
    stacked = quantize(w, 4, scheme)
    for i, expert in enumerate(w):
        one = quantize(expert, 4, scheme)
        assert torch.equal(stacked.values[i], one.values)
        assert torch.equal(stacked.scale_per_weight[i], one.scale_per_weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_values_keep_the_dtype_and_the_codes_of_float64(dtype, scheme):
    w = gaussian(6, 150).to(dtype)
    q = quantize(torch.nn.Parameter(w), 4, scheme)
    assert q.values.dtype == dtype and not q.values.requires_grad
    assert torch.equal(q.codes, quantize(w.double(), 4, scheme).codes)


# ---------------------------------------------------------------- quantile


def test_quantile_equals_torchs_and_passes_its_size_limit():
    x = gaussian(5, 4321).abs()
    torch.testing.assert_close(quantile_scale(x, 7), torch.quantile(x, 0.999, dim=-1) / 7)
    n = 2**24 + 2
    ramp = torch.arange(n, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(ramp, 0.999)
    assert quantile_scale(ramp, 1).item() == pytest.approx(0.999 * (n - 1), rel=1e-6)


# ---------------------------------------------------------------- mean squared error


def brute_force_error(x: np.ndarray, L: int) -> float:
    """Least squared error over scales: codes only change at the breakpoints x / (j − ½), so between
    two of them it is a parabola in s, minimised in closed form."""
    j = np.arange(1, L + 1)
    edges = np.unique(np.r_[0.0, np.outer(x, 1 / (j - 0.5)).ravel()])
    best = np.sum(x**2)
    for middle in (edges[:-1] + edges[1:]) / 2:
        c = np.clip(np.round(x / middle), 0, L)
        best = min(best, np.sum((x - np.sum(x * c) / np.sum(c * c) * c) ** 2) if c.any() else best)
    return math.sqrt(best / np.sum(x**2))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), bits=st.sampled_from([2, 3, 4]))
def test_exact_mse_scale_is_the_global_minimum(seed, n, bits):
    w = gaussian(1, n, seed=seed)
    expected = brute_force_error(w.abs().numpy().ravel(), levels(bits))
    assert error(w, bits, "tensor_mse") == pytest.approx(expected, abs=1e-9)
    assert error(w, bits, "channel_mse") == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("exact_events", [quantization.EXACT_EVENTS, 0])
@settings(max_examples=30, deadline=None)
@given(w=weights, bits=few_bits)
def test_mse_scale_is_never_worse_than_another_rule(exact_events, w, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "EXACT_EVENTS", exact_events)
        for scheme, rival in MSE.items():
            assert error(w, bits, scheme) <= error(w, bits, rival) * (1 + 1e-9) + 1e-12
    assert error(w, bits, "channel_mse") <= error(w, bits, "tensor_mse") * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "sample",
    [
        torch.distributions.Normal(0.0, 1.0),
        torch.distributions.Laplace(0.0, 1.0),
        torch.distributions.StudentT(3.0),
    ],
    ids=["gaussian", "laplace", "student"],
)
def test_searched_mse_scale_matches_the_exact_one(bits, sample, monkeypatch):
    torch.manual_seed(0)
    w = sample.sample((4, 5000))
    exact = {scheme: error(w, bits, scheme) for scheme in MSE}
    monkeypatch.setattr(quantization, "EXACT_EVENTS", 0)
    for scheme, value in exact.items():
        assert value * (1 - 1e-9) <= error(w, bits, scheme) <= value * (1 + 1e-3)


def gaussian_rms_error(s: float, L: int) -> float:
    """√E(w − ŵ)² of a standard normal weight, in closed form: E w² − 2s·E|w|c + s²·E c²."""
    edges = (np.arange(1, L + 1) - 0.5) * s  # c = #{edges ≤ |w|}
    wc = 2 * norm.pdf(edges).sum()
    cc = ((2 * np.arange(1, L + 1) - 1) * 2 * norm.sf(edges)).sum()
    return math.sqrt(1 - 2 * s * wc + s**2 * cc)


@pytest.mark.parametrize("bits", BITS)
def test_gaussian_weights_have_the_error_that_theory_gives(bits):
    w, L = gaussian(500, 500), levels(bits)
    for scheme in ("tensor_quantile", "tensor_mse"):
        q = quantize(w, bits, scheme)
        squares = (w - q.values).square()
        theory = gaussian_rms_error(q.scale.item(), L) ** 2
        # 4 standard errors of the mean, and 1 % for the scale's having been fitted to the sample
        tolerance = 4 * squares.std().item() / 500 + 0.01 * theory
        assert abs(squares.mean().item() - theory) < tolerance
    best = minimize_scalar(lambda s: gaussian_rms_error(s, L), bounds=(1e-3, 2))
    assert best.fun <= gaussian_rms_error(q.scale.item(), L) < 1.02 * best.fun


def test_two_bits_at_the_quantile_zero_most_of_a_gaussian_matrix():
    """The study's own numbers: relative error .857 against .437, about 90 % zeroed."""
    w = gaussian(512, 512)
    quantile = quantization_error(w, quantize(w, 2, "tensor_quantile"))
    assert quantile["relative_error"] == pytest.approx(0.857, rel=0.01)
    assert quantile["fraction_zeroed"] == pytest.approx(0.90, abs=0.01)
    assert error(w, 2, "tensor_mse") == pytest.approx(0.437, rel=0.01)


# ---------------------------------------------------------------- what follows


@small
@given(w=weights, bits=few_bits)
def test_minmax_and_exact_mse_are_idempotent(w, bits):
    for scheme in ("channel_minmax", "group_minmax", "tensor_mse", "channel_mse"):
        once = quantize(w, bits, scheme).values
        twice = quantize(once, bits, scheme).values
        torch.testing.assert_close(twice, once, rtol=1e-9, atol=1e-9 * w.abs().max().item())


def test_the_quantile_scheme_is_not_idempotent():
    w = torch.full((15, 15), 0.3).double()
    w[0, 0] = 1.0  # the quantile interpolates between .3 and 1, so 1 is clipped to it
    once = quantize(w, 4, "tensor_quantile")
    twice = quantize(once.values, 4, "tensor_quantile")
    assert 0 < twice.scale.item() < 0.9 * once.scale.item()


@small
@given(w=weights, fewer=st.sampled_from([4, 3, 2]))
def test_mse_error_never_rises_with_more_bits(w, fewer):
    more = BITS[BITS.index(fewer) - 1]
    for scheme in MSE:
        assert error(w, more, scheme) <= error(w, fewer, scheme) * (1 + 1e-9) + 1e-12


@small
@given(w=weights, bits=st.sampled_from([8, 4, 3]))
def test_two_bits_are_never_better_than_more(w, bits):
    for scheme in ("tensor_quantile", "channel_minmax", "group_minmax"):
        assert error(w, bits, scheme) <= error(w, 2, scheme) * (1 + 1e-9) + 1e-12


def test_minmax_levels_do_not_nest_beyond_two_bits():
    thirds = torch.tensor([[-1.0, -1 / 3, 0.0, 2 / 3, 1.0]], dtype=torch.float64)
    for scheme in ("channel_minmax", "group_minmax"):
        assert error(thirds, 3, scheme) < 1e-12 < 1e-2 < error(thirds, 4, scheme)


@small
@given(w=weights, bits=few_bits, scheme=schemes, power=st.integers(-20, 20))
def test_quantization_commutes_with_sign_and_powers_of_two(w, bits, scheme, power):
    c = -(2.0**power)
    scaled, plain = quantize(c * w, bits, scheme), quantize(w, bits, scheme)
    torch.testing.assert_close(scaled.values, c * plain.values, rtol=1e-9, atol=0)


# ---------------------------------------------------------------- degenerate input


@pytest.mark.parametrize("exact_events", [quantization.EXACT_EVENTS, 0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_zero_blocks_stay_zero(scheme, exact_events, monkeypatch):
    monkeypatch.setattr(quantization, "EXACT_EVENTS", exact_events)
    q = quantize(torch.zeros(3, 5), 4, scheme)
    assert (q.values == 0).all() and (q.scale == 0).all()
    assert quantization_error(torch.zeros(3, 5), q) == {
        "relative_error": 0.0,
        "max_abs": 0.0,
        "fraction_zeroed": 0.0,
    }
    w = gaussian(3, 5)
    w[1] = 0
    values = quantize(w, 4, scheme).values
    assert (values[1] == 0).all() and values.isfinite().all() and (values[0] != 0).any()


def test_a_sparse_tensor_whose_quantile_is_zero_is_zeroed_whole():
    w = torch.zeros(100, 100)
    w[0, 0] = 1.0
    assert quantization_error(w, quantize(w, 4, "tensor_quantile"))["fraction_zeroed"] == 1.0
    assert error(w, 4, "tensor_mse") == 0.0


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"tensor_quantile"}))
@pytest.mark.parametrize("value", [2.5, 1e-200, 1e-310])
def test_one_weight_is_exact(scheme, value):
    w = torch.tensor([[value]]).double()
    assert quantize(w, 2, scheme).values.item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("w", "bits", "scheme", "message"),
    [
        (torch.tensor([[math.nan]]), 4, "channel_mse", "NaN or Inf"),
        (torch.tensor([[math.inf]]), 4, "channel_mse", "NaN or Inf"),
        (torch.ones(3), 4, "channel_mse", "out, in"),
        (torch.ones(0, 3), 4, "channel_mse", "non-empty"),
        (torch.ones(2, 2).int(), 4, "channel_mse", "floating-point"),
        (torch.ones(2, 2), 5, "channel_mse", "bits must be one of"),
        (torch.ones(2, 2), 4, "per_tensor", "scheme must be one of"),
    ],
)
def test_bad_arguments(w, bits, scheme, message):
    with pytest.raises(ValueError, match=message):
        quantize(w, bits, scheme)


# ---------------------------------------------------------------- errors and states


@small
@given(w=weights, bits=few_bits, scheme=schemes)
def test_quantization_error_equals_its_definition(w, bits, scheme):
    assume((w != 0).all())
    q = quantize(w, bits, scheme)
    x, y = w.numpy(), q.values.numpy()
    got = quantization_error(w, q)
    assert got["relative_error"] == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x))
    assert got["max_abs"] == np.abs(x).max()
    assert got["fraction_zeroed"] == pytest.approx(np.mean(y == 0))
    assert quantization_error(w, q.values) == got


def test_quantization_error_counts_only_what_was_not_zero():
    w = torch.tensor([[0.0, 0.0, 0.1, 1.0]])
    assert quantization_error(w, quantize(w, 2, "channel_minmax"))["fraction_zeroed"] == 0.5
    with pytest.raises(ValueError, match="shape"):
        quantization_error(w, w.T)


def test_quantize_state_replaces_the_named_tensors_only():
    state = {"a": gaussian(4, 4), "b": gaussian(4, 4, seed=1), "bias": gaussian(4)}
    original = {name: tensor.clone() for name, tensor in state.items()}
    got = quantize_state(state, 2, "channel_mse", ["a"])
    assert list(got) == list(state)
    assert torch.equal(got["a"], quantize(state["a"], 2, "channel_mse").values)
    assert got["b"] is state["b"] and got["bias"] is state["bias"]
    assert all(torch.equal(state[name], original[name]) for name in state)
    with pytest.raises(ValueError, match="not in the state: c, d"):
        quantize_state(state, 2, "channel_mse", ["a", "d", "c"])
