"""Data sets: splits, digests, the IDX format and what is wrong with broken files."""

import gzip
import json
import os
import shutil
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.data.batches import BatchOrder, epoch_order
from muonlab.data.idx import read_idx
from muonlab.data.labelled import load_split
from muonlab.data.sources.fashion_mnist import IDX_FILES
from muonlab.data.vision import SPLITS, prepare
from muonlab.io.errors import UserError

DIGITS = {"source": "digits", "validation": 300, "test": 360, "split_seed": 0}


def idx_bytes(array, dimensions=None):
    shape = array.shape if dimensions is None else dimensions
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """A small data set in FashionMNIST's format: 40 training and 12 test images."""
    random = np.random.default_rng(0)
    place = tmp_path / "idx"
    place.mkdir()
    for part, n in (("train", 40), ("test", 12)):
        images = random.integers(0, 256, (n, 28, 28))
        labels = np.arange(n) % 10
        (place / IDX_FILES[f"{part}_images"]).write_bytes(idx_bytes(images))
        compressed = gzip.compress(idx_bytes(labels))
        (place / f"{IDX_FILES[f'{part}_labels']}.gz").write_bytes(compressed)
    return place


def fashion(folder, validation=8):
    return {
        "source": "fashion_mnist",
        "folder": str(folder),
        "validation": validation,
        "split_seed": 0,
    }


def splits(path):
    return {split: load_split(path / f"{split}.safetensors") for split in SPLITS}


def test_digits_are_split_into_three_disjoint_parts(tmp_path):
    from sklearn.datasets import load_digits

    prepare("digits", DIGITS, tmp_path)
    parts = splits(tmp_path)
    assert {k: len(v.labels) for k, v in parts.items()} == {
        "train": 1137,
        "validation": 300,
        "test": 360,
    }
    pooled = np.concatenate([p.images for p in parts.values()])
    original = load_digits().data.astype(np.uint8)
    assert sorted(map(bytes, pooled)) == sorted(map(bytes, original))


def test_preparing_twice_gives_the_same_digests_and_another_seed_others(tmp_path):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare("digits", DIGITS | {"split_seed": seed}, tmp_path / name)
        digests.append(json.loads((tmp_path / name / "digest.json").read_text())["splits"])
    assert digests[0] == digests[1]
    assert all(digests[0][s]["sha256"] != digests[2][s]["sha256"] for s in SPLITS)


def test_plain_and_gzipped_files_are_read(folder, tmp_path):
    prepare("toy", fashion(folder), tmp_path / "out")
    parts = splits(tmp_path / "out")
    assert [len(parts[s].labels) for s in SPLITS] == [32, 8, 12]
    assert parts["train"].images.shape == (32, 784)
    facts = json.loads((tmp_path / "out" / "digest.json").read_text())
    assert (facts["inputs"], facts["classes"], facts["pixel_max"]) == (784, 10, 255)


def test_images_keep_their_labels(folder, tmp_path):
    whole = read_idx(folder / IDX_FILES["train_images"], 3).reshape(40, -1)
    expected = {bytes(image): i % 10 for i, image in enumerate(whole)}
    prepare("toy", fashion(folder), tmp_path / "out")
    for split in ("train", "validation"):
        part = load_split(tmp_path / "out" / f"{split}.safetensors")
        for image, label in zip(part.images, part.labels, strict=True):
            assert expected[bytes(image)] == label


def overwrite(name, change):
    def apply(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return apply


TRAIN_IMAGES, TRAIN_LABELS = IDX_FILES["train_images"], IDX_FILES["train_labels"] + ".gz"
BROKEN = {
    "missing": (lambda f: (f / TRAIN_IMAGES).unlink(), f"lacks {TRAIN_IMAGES}"),
    "truncated": (overwrite(TRAIN_IMAGES, lambda b: b[:-5]), "truncated"),
    "header only": (overwrite(TRAIN_IMAGES, lambda b: b[:9]), "ends inside its header"),
    "empty": (overwrite(TRAIN_IMAGES, lambda b: b""), "not an IDX file"),
    "too long": (overwrite(TRAIN_IMAGES, lambda b: b + b"x"), "longer than its header says"),
    "truncated gzip": (overwrite(TRAIN_LABELS, lambda b: b[:-9]), "damaged or truncated"),
    "not gzip": (overwrite(TRAIN_LABELS, lambda b: b"nonsense"), "damaged or truncated"),
    "damaged gzip": (
        overwrite(TRAIN_LABELS, lambda b: b[:15] + b"\xff\xff" + b[17:]),
        "damaged or truncated",
    ),
    "mislabelled": (
        lambda f: (f / TRAIN_LABELS).write_bytes(
            gzip.compress((f / TRAIN_IMAGES).read_bytes()),
        ),
        "is the file mislabelled",
    ),
    "other type": (overwrite(TRAIN_IMAGES, lambda b: b[:2] + b"\x0d" + b[3:]), "IDX type 13"),
    "too few labels": (
        lambda f: (f / TRAIN_LABELS).write_bytes(gzip.compress(idx_bytes(np.zeros(39)))),
        "39 labels for the 40 images",
    ),
    "label out of range": (
        lambda f: (f / TRAIN_LABELS).write_bytes(gzip.compress(idx_bytes(np.full(40, 10)))),
        "the label 10",
    ),
    "other size": (
        lambda f: (f / TRAIN_IMAGES).write_bytes(idx_bytes(np.zeros((40, 32, 32)))),
        "32x32 pixels",
    ),
    "text": (overwrite(TRAIN_IMAGES, lambda b: b"a web page, not data"), "not an IDX file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_clear_sentence_and_leaves_nothing(case, folder, tmp_path):
    change, message = BROKEN[case]
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        prepare("toy", fashion(folder), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_a_validation_split_larger_than_the_data_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="data.toy.validation: 40 cannot be held out of 40"):
        prepare("toy", fashion(folder, validation=40), tmp_path / "out")


@given(
    examples=st.integers(1, 200),
    batch_size=st.integers(1, 70),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_visits_every_example_once(examples, batch_size, epoch, seed):
    order = BatchOrder(examples, batch_size, seed, "data")
    steps = range(epoch * order.per_epoch, (epoch + 1) * order.per_epoch)
    visited = np.concatenate([order.indices(step) for step in steps])
    assert sorted(visited) == list(range(examples))


def test_the_order_depends_on_seed_and_step_alone():
    one, two = BatchOrder(50, 8, 3, "data"), BatchOrder(50, 8, 3, "data")
    for step in (40, 3, 17, 3):
        np.testing.assert_array_equal(one.indices(step), two.indices(step))
    assert not np.array_equal(epoch_order(50, 0, 3, "data"), epoch_order(50, 1, 3, "data"))
    assert not np.array_equal(epoch_order(50, 0, 3, "data"), epoch_order(50, 0, 4, "data"))


@pytest.mark.skipif("MUONLAB_DATA" not in os.environ, reason="MUONLAB_DATA names no real data")
def test_real_fashion_mnist(tmp_path):
    """Sizes and moments that its authors publish (Xiao et al., arXiv 1708.07747)."""
    real = fashion(Path(os.environ["MUONLAB_DATA"]) / "FashionMNIST", validation=5000)
    prepare("fashion_mnist", real, tmp_path)
    parts = splits(tmp_path)
    assert [len(parts[s].labels) for s in SPLITS] == [55_000, 5_000, 10_000]
    pixels = np.concatenate([parts["train"].images, parts["validation"].images]) / 255
    assert pixels.mean() == pytest.approx(0.2860, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3530, abs=5e-5)
    labels = np.concatenate([parts["train"].labels, parts["validation"].labels])
    assert (np.bincount(labels) == 6_000).all()


def fake_torchvision(monkeypatch, download):
    module = types.ModuleType("torchvision.datasets")
    module.FashionMNIST = download
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


def test_without_a_folder_the_files_come_through_torchvision(folder, tmp_path, monkeypatch):
    def download(root, download):
        shutil.copytree(folder, Path(root) / "FashionMNIST" / "raw")

    fake_torchvision(monkeypatch, download)
    prepare("toy", fashion(folder) | {"folder": None}, tmp_path / "out")
    assert len(load_split(tmp_path / "out" / "train.safetensors").labels) == 32


def test_a_download_that_fails_is_one_sentence(folder, tmp_path, monkeypatch):
    def download(root, download):
        raise OSError("no route to host\nand more")

    fake_torchvision(monkeypatch, download)
    with pytest.raises(UserError, match="could not be downloaded .no route to host.; name a"):
        prepare("toy", fashion(folder) | {"folder": None}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_torchvision_that_does_not_import_is_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match="cannot be imported .*name a folder") as caught:
        prepare("toy", fashion(folder) | {"folder": None}, tmp_path / "out")
    assert "\n" not in str(caught.value)
