import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.special import gammaln

from muonlab.measure.alignment import (
    cosine,
    mean_principal_cosine,
    subspace_alignment,
    top_subspaces,
    update_metrics,
)
from muonlab.measure.nulls import null_alignment
from muonlab.measure.singular_values import spectral_metrics


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(m=st.integers(2, 30), n=st.integers(2, 30), k=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_alignment_equals_scipys_subspace_angles(m, n, k, seed):
    A, B = gaussian(m, n, seed=seed), gaussian(m, n, seed=seed + 1)
    k_used = min(k, m, n)
    (Ua, _, Va), (Ub, _, Vb) = np.linalg.svd(A.numpy()), np.linalg.svd(B.numpy())
    left = np.cos(subspace_angles(Ua[:, :k_used], Ub[:, :k_used])).mean()
    right = np.cos(subspace_angles(Va[:k_used].T, Vb[:k_used].T)).mean()
    got = subspace_alignment(A, B, k)
    assert [x.item() for x in got] == pytest.approx([left, right], abs=1e-7)
    swapped = subspace_alignment(B, A, k)
    assert [x.item() for x in swapped] == pytest.approx([left, right], abs=1e-7)


def test_alignment_of_a_matrix_with_itself_is_one_and_with_its_complement_zero():
    Q = torch.linalg.qr(gaussian(20, 20)).Q
    A = Q[:, :5] @ gaussian(5, 30, seed=1)
    B = Q[:, 5:10] @ gaussian(5, 30, seed=2)
    assert [x.item() for x in subspace_alignment(A, -3 * A)] == pytest.approx([1.0, 1.0])
    assert subspace_alignment(A, B)[0].item() == pytest.approx(0.0, abs=1e-12)
    assert (
        subspace_alignment(A, B)[1].item() > 0.1
    )  # their row spaces are unrelated, not orthogonal


def test_alignment_is_batched_and_reuses_bases():
    A, B = gaussian(2, 3, 8, 12), gaussian(2, 3, 8, 12, seed=1)
    left, right = subspace_alignment(A, B, k=3)
    assert left.shape == right.shape == (2, 3)
    one_by_one = [subspace_alignment(a, b, k=3) for a, b in zip(A[1], B[1], strict=True)]
    torch.testing.assert_close(left[1], torch.stack([x for x, _ in one_by_one]))
    torch.testing.assert_close(right[1], torch.stack([x for _, x in one_by_one]))
    (U_a, _), (U_b, _) = top_subspaces(A, 3), top_subspaces(B, 3)
    torch.testing.assert_close(left, mean_principal_cosine(U_a, U_b))


def test_alignment_without_a_subspace_is_nan():
    A = gaussian(4, 10, 12)
    B = A.clone()
    B[0] = 0.0
    B[1] = gaussian(10, 4) @ gaussian(4, 12)  # rank 4 < 5
    B[2, 0, 0] = math.nan
    left, right = subspace_alignment(A, B)
    assert left.isnan().tolist() == right.isnan().tolist() == [True, True, True, False]
    assert not any(x.isnan().any() for x in subspace_alignment(A[1], B[1], k=4))
    assert [x.item() for x in subspace_alignment(torch.ones(1, 9), torch.ones(1, 9))] == [
        pytest.approx(1.0)
    ] * 2


def test_alignment_refuses_bad_arguments():
    with pytest.raises(ValueError, match="one shape"):
        subspace_alignment(torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="k must be"):
        subspace_alignment(torch.ones(2, 3), torch.ones(2, 3), k=0)
    with pytest.raises(ValueError, match="floating-point"):
        subspace_alignment(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="null_alignment"):
        null_alignment(0)


@pytest.mark.parametrize("dim", [2, 3, 15, 512])
def test_null_of_lines_is_the_known_expectation(dim):
    """E|cos| of a random line with an axis = Γ(d/2) / (√π Γ((d+1)/2)), the mean of a Beta root."""
    exact = math.exp(gammaln(dim / 2) - gammaln((dim + 1) / 2)) / math.sqrt(math.pi)
    variance = 1 / dim - exact**2
    assert abs(null_alignment(dim, 1) - exact) < 4 * math.sqrt(variance / 4096)


@pytest.mark.parametrize("dim", [5, 7, 10, 64])
def test_null_equals_the_alignment_of_random_matrices(dim):
    """Independent reference: two Gaussian matrices, whose singular subspaces are uniform."""
    sample = subspace_alignment(gaussian(800, dim, dim, seed=1), gaussian(800, dim, dim, seed=2))
    sample = torch.cat(sample)  # left and right: 1600 values, pairwise uncorrelated
    error = sample.std().item() / math.sqrt(1600) + 1e-12
    assert abs(sample.mean().item() - null_alignment(dim)) < 4 * math.sqrt(2) * error


def test_null_limits():
    assert null_alignment(5, 5) == pytest.approx(1.0) and null_alignment(3, 5) == pytest.approx(1.0)
    # of 6 dimensions, two 5-subspaces share 4: four cosines are 1, the fifth is that of the normals
    assert null_alignment(6, 5) == pytest.approx((4 + null_alignment(6, 1)) / 5, abs=0.005)
    assert 1 > null_alignment(8) > null_alignment(64) > null_alignment(2048) > 0
    assert null_alignment(64, seed=1) != null_alignment(64, seed=2)
    null_alignment.cache_clear()
    first = null_alignment(64)
    null_alignment.cache_clear()
    assert null_alignment(64) == first


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 20), n=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_update_metrics_equal_their_definitions(m, n, seed):
    before, after = gaussian(m, n, seed=seed), gaussian(m, n, seed=seed + 1)
    got = update_metrics(before, after, top_k=3)
    delta = after.numpy() - before.numpy()
    assert got["update_rms"].item() == pytest.approx(np.sqrt(np.mean(delta**2)))
    relative = np.linalg.norm(delta) / np.linalg.norm(before.numpy())
    assert got["relative_update"].item() == pytest.approx(relative)
    for name, value in spectral_metrics(torch.from_numpy(delta), top_k=3).items():
        torch.testing.assert_close(got[f"update_{name}"], value, equal_nan=True)


def test_update_metrics_of_degenerate_pairs():
    W = gaussian(3, 4, 5)
    still = update_metrics(W, W)
    assert (still["update_rms"] == 0).all() and (still["relative_update"] == 0).all()
    assert (still["update_stable_rank"] == 0).all()
    assert (update_metrics(torch.zeros(4, 5), W[0])["relative_update"] == math.inf).all()
    assert update_metrics(torch.zeros(4, 5), torch.zeros(4, 5))["relative_update"].isnan()
    assert update_metrics(W[0], W[0] * math.nan)["update_spectral_norm"].isnan()
    with pytest.raises(ValueError, match="one shape"):
        update_metrics(W, W[0])


def test_update_is_differenced_in_float64():
    before = torch.ones(8, 8, dtype=torch.bfloat16)
    after = torch.full((8, 8), 1 + 2**-7, dtype=torch.bfloat16)
    assert update_metrics(before, after)["update_rms"].item() == 2**-7


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 50), seed=st.integers(0, 10**6), scale=st.floats(1e-150, 1e150))
def test_cosine(n, seed, scale):
    a, b = gaussian(n, seed=seed), gaussian(n, seed=seed + 1)
    expected = float(a @ b / (a.norm() * b.norm()))
    assert cosine(a, scale * b).item() == pytest.approx(expected, abs=1e-12)
    assert cosine(a, -scale * a).item() == pytest.approx(-1.0)
    assert abs(cosine(a, b).item()) <= 1.0


def test_cosine_of_nothing():
    assert cosine(torch.zeros(3), torch.ones(3)).isnan()
    assert cosine(torch.ones(2, 3), torch.ones(6)).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="one size"):
        cosine(torch.ones(3), torch.ones(4))
