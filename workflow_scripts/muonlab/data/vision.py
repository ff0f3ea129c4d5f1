"""Image data sets: from their source to three disjoint splits with digests.

A prepared data set is a folder with `train`, `validation` and `test` as safetensors files (images
(n, pixels) and labels (n,), unsigned bytes) and `digest.json`, which says what they hold.
"""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from muonlab.data.idx import read_idx
from muonlab.data.labelled import Labelled
from muonlab.data.sources import find_idx
from muonlab.io.atomic import replacing, write_json
from muonlab.io.errors import UserError
from muonlab.streams import numpy_generator

SPLITS = ("train", "validation", "test")


def prepare(name: str, config: dict, folder: Path) -> None:
    """Writes the data set `name`, described by its section of the config, into `folder`.

    Raises UserError for a missing, damaged or mislabelled file and for splits that do not fit.
    """
    if config["source"] == "digits":
        splits, pixel_max = digits(config), 16
    else:
        splits, pixel_max = fashion_mnist(name, config), 255
    _check_splits(name, splits)
    for split, part in splits.items():
        _save(folder / f"{split}.safetensors", part)
    write_json(folder / "digest.json", describe(name, config["source"], splits, pixel_max))


def digits(config: dict) -> dict[str, Labelled]:
    """scikit-learn's bundled digits: 1,797 images of 8 × 8 pixels in 0..16, ten classes.

    They have no official test split: one of `test` images is drawn by `split_seed`, then the
    validation images out of the rest.
    """
    from sklearn.datasets import load_digits

    bundled = load_digits()
    everything = Labelled(bundled.data.astype(np.uint8), bundled.target.astype(np.uint8))
    order = numpy_generator(config["split_seed"], "test split").permutation(len(everything.labels))
    _check_size("data.digits.test", config["test"], len(order))
    rest, test = order[config["test"] :], order[: config["test"]]
    train, validation = hold_out(everything.take(rest), config, "digits")
    return {"train": train, "validation": validation, "test": everything.take(test)}


def fashion_mnist(name: str, config: dict) -> dict[str, Labelled]:
    """FashionMNIST (Xiao et al., arXiv 1708.07747): 60,000 + 10,000 images of 28 × 28 pixels."""
    if config["folder"] is not None:
        parts = read_folder(Path(config["folder"]), f"data.{name}.folder")
    else:
        with tempfile.TemporaryDirectory() as root:
            _download(root, name)
            parts = read_folder(Path(root), f"data.{name}.folder")
    train, validation = hold_out(parts["train"], config, name)
    return {"train": train, "validation": validation, "test": parts["test"]}


def hold_out(whole: Labelled, config: dict, name: str) -> tuple[Labelled, Labelled]:
    """Training and validation images: `validation` of them are drawn by `split_seed`."""
    _check_size(f"data.{name}.validation", config["validation"], len(whole.labels))
    order = numpy_generator(config["split_seed"], "validation split").permutation(len(whole.labels))
    held = config["validation"]
    return whole.take(np.sort(order[held:])), whole.take(np.sort(order[:held]))


def read_folder(folder: Path, field: str) -> dict[str, Labelled]:
    """The official train and test parts from a folder of IDX files."""
    files = find_idx(folder, field)
    parts = {}
    for part in ("train", "test"):
        images = read_idx(files[f"{part}_images"], dimensions=3)
        labels = read_idx(files[f"{part}_labels"], dimensions=1)
        if len(images) != len(labels):
            raise UserError(
                f"{files[f'{part}_labels']}: has {len(labels)} labels for the {len(images)} images "
                f"of {files[f'{part}_images'].name}"
            )
        if len(labels) == 0 or images.shape[1:] != (28, 28):
            raise UserError(
                f"{files[f'{part}_images']}: holds {len(images)} images of "
                f"{'x'.join(map(str, images.shape[1:]))} pixels, not FashionMNIST's 28x28"
            )
        if labels.max() > 9:
            raise UserError(
                f"{files[f'{part}_labels']}: has the label {labels.max()}; 0 to 9 are allowed"
            )
        parts[part] = Labelled(images.reshape(len(images), -1), labels)
    return parts


def describe(name: str, source: str, splits: dict[str, Labelled], pixel_max: int) -> dict:
    """What `digest.json` says: sizes, classes, and a SHA-256 of each split's bytes."""
    any_split = splits["train"]
    return {
        "dataset": name,
        "source": source,
        "inputs": int(any_split.images.shape[1]),
        "classes": int(max(part.labels.max() for part in splits.values() if len(part.labels))) + 1,
        "pixel_max": pixel_max,
        "splits": {
            split: {"examples": len(part.labels), "sha256": _digest(part)}
            for split, part in splits.items()
        },
    }


def _check_size(field: str, wanted: int, available: int) -> None:
    if wanted >= available:
        raise UserError(f"{field}: {wanted} cannot be held out of {available} images")


def _check_splits(name: str, splits: dict[str, Labelled]) -> None:
    for split, part in splits.items():
        if split != "validation" and len(part.labels) == 0:
            raise UserError(f"data.{name}: the {split} split would be empty")


def _digest(part: Labelled) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(part.images).tobytes())
    digest.update(np.ascontiguousarray(part.labels).tobytes())
    return digest.hexdigest()


def _save(path: Path, part: Labelled) -> None:
    from safetensors.numpy import save_file

    arrays = {
        "images": np.ascontiguousarray(part.images),
        "labels": np.ascontiguousarray(part.labels),
    }
    with replacing(path) as temporary:
        save_file(arrays, temporary)


def _download(root: str, name: str) -> None:
    """Fetches FashionMNIST through torchvision, or says in one sentence why that cannot be."""
    advice = f"name a folder that holds its IDX files in data.{name}.folder"
    try:
        from torchvision.datasets import FashionMNIST
    except (ImportError, RuntimeError) as failure:
        raise UserError(
            f"data.{name}: torchvision, which downloads FashionMNIST, cannot be imported beside "
            f"this torch ({str(failure).splitlines()[0]}); {advice}"
        ) from failure
    try:
        FashionMNIST(root, download=True)
    except (OSError, RuntimeError) as failure:
        raise UserError(
            f"data.{name}: FashionMNIST could not be downloaded "
            f"({str(failure).splitlines()[0]}); {advice}"
        ) from failure
