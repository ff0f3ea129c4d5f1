"""Windows of tokens: what is read, what is predicted, and the published overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muonlab.data.windows import IGNORED, OverlappingWindows, Windows, permuted
from muonlab.io.errors import UserError

documents = st.lists(st.integers(1, 12), min_size=3, max_size=30)


def corpus(lengths):
    """A token file in memory whose tokens are their own places, and the document of each."""
    offsets = np.cumsum([0, *lengths])
    tokens = np.arange(offsets[-1], dtype=np.uint16)
    return tokens, offsets, np.repeat(np.arange(len(lengths)), lengths)


@given(documents, st.integers(1, 9))
def test_windows_cover_a_split_without_overlap(lengths, length):
    tokens, offsets, owner = corpus(lengths)
    if len(tokens) <= length:
        return
    windows = Windows(tokens, offsets, length)
    inputs, targets, numbers = windows.batch(np.arange(len(windows)))
    assert inputs.dtype == targets.dtype == np.int64 and numbers.dtype == np.int32
    assert inputs.ravel().tolist() == list(range(len(windows) * length))
    assert len(tokens) - 1 - len(windows) * length < length
    for row, (expected, target) in enumerate(zip(inputs + 1, targets, strict=True)):
        for column in range(length):
            here = row * length + column
            assert numbers[row, column] == owner[here] - owner[row * length]
            crosses = owner[here] != owner[here + 1]
            assert target[column] == (IGNORED if crosses else expected[column])


def test_a_batch_follows_its_indices():
    tokens, offsets, _ = corpus([7, 20, 13])
    windows = Windows(tokens, offsets, 4)
    order = np.array([5, 0, 3])
    for whole, part in zip(windows.batch(np.arange(9)), windows.batch(order), strict=True):
        np.testing.assert_array_equal(whole[order], part)


def test_across_documents_every_token_is_a_target():
    tokens, offsets, _ = corpus([3, 3, 3])
    inputs, targets, numbers = Windows(tokens, offsets, 4, across_documents=True).batch([0, 1])
    np.testing.assert_array_equal(targets, inputs + 1)
    assert not numbers.any()


def test_a_split_without_a_window_is_one_sentence():
    tokens, offsets, _ = corpus([2, 3])
    assert len(Windows(tokens, offsets, 4)) == 1
    with pytest.raises(UserError, match="validation: has 5 tokens, and one window of 5 .* need 6"):
        Windows(tokens, offsets, 5, "validation")
    with pytest.raises(UserError, match="has 0 tokens"):
        Windows(np.empty(0, np.uint16), np.zeros(1, np.int64), 1)


@given(st.integers(1, 3000), st.integers(0, 2**62))
def test_a_keyed_permutation_is_one(size, key):
    assert sorted(permuted(np.arange(size), size, key)) == list(range(size))


def test_a_keyed_permutation_is_scattered():
    size = 100_003
    order = permuted(np.arange(size), size, 5)
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 4 / np.sqrt(size)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / np.sqrt(size)
    assert (order != permuted(np.arange(size), size, 6)).mean() > 0.99
    counts = np.bincount(order[: size // 2] * 100 // size, minlength=100)
    assert ((counts - 500) ** 2 / 500).sum() < 180  # chi square, 99 degrees of freedom


def test_the_published_split_puts_evaluation_beside_training():
    tokens, offsets, _ = corpus([400] * 5)
    parts = [
        OverlappingWindows(tokens, offsets, 16, fraction=0.1, evaluation=held, seed=3)
        for held in (False, True)
    ]
    train, held = (part.starts(np.arange(len(part))) for part in parts)
    assert sorted(np.concatenate([train, held])) == list(range(2000 - 16))
    assert len(held) == round(0.1 * 1984)
    neighbours = np.isin(held - 1, train) | np.isin(held + 1, train)
    assert neighbours.mean() > 0.97
    other = OverlappingWindows(tokens, offsets, 16, fraction=0.1, evaluation=True, seed=4)
    assert np.isin(other.starts(np.arange(len(other))), held).mean() < 0.3
    inputs, targets, _ = parts[1].batch(np.arange(10))
    np.testing.assert_array_equal(inputs[:, 0], held[:10])
    np.testing.assert_array_equal(targets, inputs + 1)


def test_windows_that_cover_a_split_hold_its_tokens_once():
    tokens, offsets, _ = corpus([400] * 5)
    disjoint = Windows(tokens, offsets, 16)
    assert disjoint.covering == len(disjoint)
    for fraction, tokens_held in ((0.1, 198), (0.5, 992), (0.001, 2)):
        part = OverlappingWindows(tokens, offsets, 16, fraction, evaluation=True, seed=3)
        assert len(part) == tokens_held and part.covering == max(1, tokens_held // 16)


def test_an_overlapping_split_without_evaluation_windows_is_refused():
    tokens, offsets, _ = corpus([10, 10])
    with pytest.raises(UserError, match="leaves 0 of 4 windows for evaluation"):
        OverlappingWindows(tokens, offsets, 16, fraction=0.1, evaluation=True, seed=0)
