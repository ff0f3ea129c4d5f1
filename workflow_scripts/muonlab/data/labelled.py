"""Labelled images: reads a split of a prepared data set of images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from muonlab.io.errors import UserError, first_line


class Labelled(NamedTuple):
    """Images (n, pixels) and their labels (n,), both uint8."""

    images: np.ndarray
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Labelled":
        return Labelled(self.images[indices], self.labels[indices])


def load_split(path: str | Path) -> Labelled:
    """Reads one split from its file. Raises UserError if the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        return Labelled(tensors["images"], tensors["labels"])
    except (SafetensorError, KeyError) as failure:
        raise UserError(
            f"{path}: is damaged ({first_line(failure)}), and preparing the data again will make "
            "it anew (delete its folder)"
        ) from failure
