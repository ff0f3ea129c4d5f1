"""What chance gives: against random matrices and simulated walks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muonlab.measure.gram import gram_system
from muonlab.measure.nulls import alignment_nulls, null_alignment, squared_path, walk_growth


def subspaces(rows, columns, count, seed):
    """The leading subspaces of Gaussian matrices. Only the directions matter, so the long side of a
    very oblong matrix can be reduced without changing the distribution of the short side's."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn((count, rows, columns), generator=generator, dtype=torch.float64)
    return gram_system(W, 5)[1:]


@pytest.mark.parametrize(
    ("rows", "columns", "count"), [(512, 512, 3), (256, 512, 6), (2048, 512, 2), (15, 784, 60)]
)
def test_independent_gaussian_matrices_are_aligned_as_the_null_says(rows, columns, count):
    ones, others = subspaces(rows, columns, count, 1), subspaces(rows, columns, count, 2)
    for null, one, other in zip(alignment_nulls(rows, columns), ones, others, strict=True):
        # Every one of the first matrices with every one of the second: the mean has the same
        # expectation, and its pairs are independent given either side.
        cosines = torch.linalg.svdvals(one[:, None].mT @ other[None]).mean(-1)
        spread = cosines.std().item() / np.sqrt(count)
        assert abs(cosines.mean().item() - null) < 5 * spread + 0.003


def test_the_null_of_a_matrix_narrower_than_k_is_that_of_all_its_directions():
    left, right = alignment_nulls(3, 100)
    assert left == pytest.approx(1.0) and right == null_alignment(100, 3)


@given(start=st.floats(0.1, 10), sizes=st.lists(st.floats(0, 3), max_size=20))
def test_a_walk_only_grows_and_depends_on_the_ratio_alone(start, sizes):
    squares = np.cumsum(np.square(sizes)) if sizes else np.zeros(1)
    factor = walk_growth(start, squares)
    assert (factor >= 1).all() and (np.diff(factor) >= 0).all()
    assert np.allclose(factor, walk_growth(7 * start, 49 * squares))


def test_a_walk_from_nothing_has_no_factor():
    assert np.isnan(walk_growth(0.0, 1.0))


@pytest.mark.parametrize("shape", [(24, 24), (15, 60)])
def test_simulated_walks_grow_by_the_factor(shape):
    """Steps of given norms in uniformly random directions, from a Gaussian start."""
    rng, norms = np.random.default_rng(0), [0.5, 1.0, 2.0, 1.5]
    ratios = []
    for _ in range(300):
        start = rng.normal(size=shape) / np.sqrt(shape[1])
        W = start
        for norm in norms:
            step = rng.normal(size=shape)
            W = W + norm * step / np.linalg.norm(step)
        # ‖W_0‖² is mn/n = m in expectation.
        ratios.append((np.linalg.norm(W, 2), np.linalg.norm(start, 2)))
    walked, begun = np.array(ratios).T
    expected = walk_growth(np.sqrt(shape[0]), np.sum(np.square(norms)))
    error = np.std(walked) / np.sqrt(len(walked)) / begun.mean()
    assert walked.mean() / begun.mean() == pytest.approx(float(expected), abs=5 * error)


def test_squared_path_interpolates_squares_and_sums_them():
    path = squared_path([0, 2, 4], [1.0, 3.0, 0.0], [0, 1, 3, 5])
    squares = [1, 5, 9, 4.5, 0]  # 1 and 9, their mean between, then 0
    assert path.tolist() == [0, *(sum(squares[:n]) for n in (1, 3, 5))]
    assert squared_path([3], [2.0], [0, 5]).tolist() == [0, 20], "one norm stands for all"
    with pytest.raises(ValueError, match="no update"):
        squared_path([], [], [1])
