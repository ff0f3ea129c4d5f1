"""Which examples go where: labels beside their images, epochs, and a part that is spread evenly."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muonlab.data.batches import BatchOrder, epoch_order, evenly, steps_per_epoch
from muonlab.data.labelled import Labelled, load_split
from muonlab.data.near_duplicates import SketchIndex, similarity, sketch
from muonlab.data.vision import SPLITS, prepare

DIGITS = {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    prepare("digits", DIGITS, folder)
    return folder


@given(st.lists(st.integers(0, 19), min_size=1, max_size=30))
def test_labels_are_taken_in_the_order_of_their_images(indices):
    whole = Labelled(np.arange(20, dtype=np.uint8)[:, None], np.arange(20, dtype=np.uint8))
    part = whole.take(np.array(indices))
    assert part.images[:, 0].tolist() == part.labels.tolist() == indices


def test_digits_keep_their_labels_in_every_split(digits):
    from sklearn.datasets import load_digits

    bundled = load_digits()
    labels: dict[bytes, set] = {}
    for image, label in zip(bundled.data.astype(np.uint8), bundled.target, strict=True):
        labels.setdefault(bytes(image), set()).add(int(label))
    for split in SPLITS:
        part = load_split(digits / f"{split}.safetensors")
        for image, label in zip(part.images, part.labels, strict=True):
            assert int(label) in labels[bytes(image)]


def test_the_brightest_pixel_of_the_digits_is_told(digits):
    facts = json.loads((digits / "digest.json").read_text())
    assert facts["pixel_max"] == load_split(digits / "train.safetensors").images.max() == 16


def test_the_splits_of_the_digits_are_those_of_the_kept_numbers(digits):
    splits = json.loads((digits / "digest.json").read_text())["splits"]
    assert {name: part["sha256"][:12] for name, part in splits.items()} == {
        "train": "7529dbd38859",
        "validation": "b94b7d7bd708",
        "test": "d4d0eef0b4af",
    }


def test_the_test_images_do_not_depend_on_how_many_are_held_out_for_validation(digits, tmp_path):
    prepare("digits", DIGITS | {"validation": 100}, tmp_path)
    one, two = (load_split(place / "test.safetensors") for place in (digits, tmp_path))
    assert (one.images == two.images).all() and (one.labels == two.labels).all()


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_documents_exactly_as_similar_as_the_threshold_are_near_duplicates(threshold):
    one = sketch(np.arange(10))
    other = one if threshold == 1 else np.union1d(one[:4], sketch(np.arange(50, 56)))
    assert similarity(one, other) == threshold
    assert SketchIndex([other]).close_to(one, threshold) == [0]
    assert SketchIndex([other]).close_to(one, threshold + 0.01) == []


@given(n=st.integers(1, 60), size=st.integers(1, 20), epoch=st.integers(0, 3))
def test_an_epoch_visits_every_example_once_in_an_order_of_its_own(n, size, epoch):
    order = BatchOrder(n, size, 1, "data")
    assert steps_per_epoch(n, size) == order.per_epoch == -(-n // size)
    steps = range(epoch * order.per_epoch, (epoch + 1) * order.per_epoch)
    batches = [order.indices(step).tolist() for step in steps]
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert sum(batches, []) == epoch_order(n, epoch, 1, "data").tolist()
    assert sorted(sum(batches, [])) == [*range(n)]
    if n > 12:
        assert sum(batches, []) != epoch_order(n, epoch + 1, 1, "data").tolist()
        assert sum(batches, []) != epoch_order(n, epoch, 2, "data").tolist()


def test_batches_are_those_of_their_step_whichever_was_asked_for_before():
    order = BatchOrder(20, 6, 1, "data")
    for step in (0, 5, 9, 2, 40, 0):
        fresh = BatchOrder(20, 6, 1, "data")
        assert order.indices(step).tolist() == fresh.indices(step).tolist()


@given(available=st.integers(1, 80), wanted=st.integers(1, 100))
def test_a_part_of_a_split_is_spread_evenly_over_it(available, wanted):
    chosen = evenly(available, wanted)
    assert len(chosen) == min(available, wanted) and chosen[0] == 0 and chosen[-1] < available
    gaps = np.diff([*chosen, available])
    assert gaps.max() - gaps.min() <= 1 and gaps.min() >= 1
    assert evenly(available, None).tolist() == [*range(available)]
