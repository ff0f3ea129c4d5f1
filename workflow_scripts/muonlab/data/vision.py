"""Prepares image data sets: reads a source and writes three disjoint splits.

A prepared data set is a folder with `train`, `validation` and `test` as safetensors files (images
(n, pixels) and labels (n,), unsigned bytes) and with `digest.json`, which describes them.
"""

import hashlib
from pathlib import Path

import numpy as np

from muonlab.data.labelled import Labelled
from muonlab.data.sections import opened, place_of
from muonlab.io.atomic import replacing, write_json
from muonlab.io.errors import UserError
from muonlab.streams import numpy_generator

SPLITS = ("train", "validation", "test")


def prepare(name: str, config: dict, folder: Path) -> None:
    """Prepares the data set `name` in `folder`; `config` is its section of the config.

    Raises UserError for a missing, damaged or mislabelled file, and if the splits are too large.
    """
    splits, pixel_max = opened(config).read(place_of(name))
    _check_splits(name, splits)
    for split, part in splits.items():
        _save(folder / f"{split}.safetensors", part)
    write_json(folder / "digest.json", describe(name, config["source"], splits, pixel_max))


def hold_out(whole: Labelled, held: int, seed: int, field: str) -> tuple[Labelled, Labelled]:
    """Training and validation images: the seed draws `held` of the images for validation."""
    available = len(whole.labels)
    if held >= available:
        raise UserError(f"{field}: {held} cannot be held out of {available} images")
    order = numpy_generator(seed, "validation split").permutation(available)
    return whole.take(np.sort(order[held:])), whole.take(np.sort(order[:held]))


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
