"""Spectra and subspaces from Gram matrices against numpy's singular value decomposition."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.measure.alignment import subspace_alignment
from muonlab.measure.gram import gram_system
from muonlab.measure.singular_values import spectrum_metrics


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projector(Q):
    return Q @ Q.mT


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 40), n=st.integers(1, 40), k=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_values_and_subspaces_are_those_of_the_decomposition(m, n, k, seed):
    W = gaussian(m, n, seed=seed)
    sigma, U, V = gram_system(W, k)
    u, s, vh = np.linalg.svd(W.numpy(), full_matrices=False)
    used = min(k, m, n)
    assert sigma.shape == (min(m, n),) and U.shape == (m, used) and V.shape == (n, used)
    # An eigenvalue is exact to ε·σ₁², a singular value hence to ε·σ₁²/σ.
    error = 50 * np.finfo(float).eps * s[0] ** 2 / np.maximum(s, 1e-7 * s[0])
    assert (np.abs(sigma.numpy() - s) <= error).all()
    if used == len(s) or s[used - 1] - s[used] > 1e-2 * s[0]:  # else the subspace is not unique
        for Q, exact in ((U, u[:, :used]), (V, vh[:used].T)):
            assert torch.allclose(Q.mT @ Q, torch.eye(used, dtype=Q.dtype), atol=1e-12)
            assert np.allclose(projector(Q).numpy(), exact @ exact.T, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-140, 140))
def test_scale_scales_the_values_and_turns_nothing(seed, exponent):
    W, c = gaussian(12, 9, seed=seed), 10.0**exponent
    (sigma, U, V), (scaled, U_c, V_c) = gram_system(W, 3), gram_system(c * W, 3)
    assert torch.allclose(scaled, c * sigma, rtol=1e-6, atol=0)
    assert torch.allclose(projector(U), projector(U_c), atol=1e-7)
    assert torch.allclose(projector(V), projector(V_c), atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_permuted_rows_and_columns_permute_the_subspaces_and_keep_the_values(seed):
    W, generator = gaussian(14, 11, seed=seed), torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(size, generator=generator) for size in W.shape)
    (sigma, U, V), (same, U_p, V_p) = gram_system(W, 4), gram_system(W[rows][:, columns], 4)
    assert torch.allclose(sigma, same, atol=1e-7)
    assert torch.allclose(projector(U[rows]), projector(U_p), atol=1e-6)
    assert torch.allclose(projector(V[columns]), projector(V_p), atol=1e-6)


@pytest.mark.parametrize("shape", [(15, 15), (15, 784), (784, 15)])
def test_a_matrix_of_low_rank_has_zeros_and_no_further_directions(shape):
    m, n = shape
    W = gaussian(m, 3) @ gaussian(3, n, seed=1)
    sigma, U, V = gram_system(torch.stack([W, torch.zeros(m, n), gaussian(m, n, seed=2)]), 5)
    assert (sigma[0, 3:] == 0).all() and (sigma[0, :3] > 0).all() and (sigma[1] == 0).all()
    assert U[0].isnan().all() and V[1].isnan().all() and U[2].isfinite().all()
    assert gram_system(W, 3)[1].isfinite().all()
    metrics = spectrum_metrics(sigma, tail=False)
    assert "alpha" not in metrics and metrics["stable_rank"][1] == 0
    exact = np.linalg.svd(W.numpy(), compute_uv=False)[:3]
    assert metrics["effective_rank"][0].item() == pytest.approx(
        math.exp(-sum(q * math.log(q) for q in exact / exact.sum())), rel=1e-9
    )


def test_a_matrix_that_is_not_finite_is_nan_and_alone():
    W = gaussian(3, 6, 4)
    W[0, 0, 0], W[1, 1, 1] = math.nan, math.inf
    sigma, U, _ = gram_system(W, 2)
    assert sigma[:2].isnan().all() and U[:2].isnan().all()
    assert torch.allclose(sigma[2], torch.linalg.svdvals(W[2]))


def test_weights_of_low_precision_are_measured_in_float64():
    W = gaussian(30, 20).to(torch.bfloat16)
    sigma = gram_system(W, 2)[0]
    exact = np.linalg.svd(W.double().numpy(), compute_uv=False)
    assert sigma.dtype == torch.float64 and np.allclose(sigma.numpy(), exact, rtol=1e-10)


def test_alignment_is_that_of_the_full_decomposition():
    A, B = gaussian(6, 40, 25), gaussian(6, 40, 25, seed=1)
    left, right = subspace_alignment(A, A + 0.5 * B)
    (_, U_a, V_a), (_, U_b, V_b) = gram_system(A, 5), gram_system(A + 0.5 * B, 5)
    for one, other, expected in ((U_a, U_b, left), (V_a, V_b, right)):
        found = torch.linalg.svdvals(one.mT @ other).mean(-1)
        assert torch.allclose(found, expected, atol=1e-9)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match="k must be"):
        gram_system(gaussian(3, 3), 0)
    with pytest.raises(ValueError, match="floating-point"):
        gram_system(torch.ones(3), 1)
