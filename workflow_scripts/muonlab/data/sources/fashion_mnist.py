"""FashionMNIST (Xiao et al., arXiv 1708.07747): 60,000 + 10,000 images of 28 × 28 pixels."""

import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field

from muonlab.data.sections import Images, Place
from muonlab.io.errors import UserError, first_line
from muonlab.section import Seed

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class FashionMNIST(Images):
    """FashionMNIST with its official test split."""

    source: Literal["fashion_mnist"]
    folder: str | None = None
    """Folder with the four IDX files, plain or .gz; null downloads them through torchvision."""
    validation: int = Field(default=5000, ge=1)
    """Number of images held out of the 60,000 training images for choosing settings."""
    split_seed: Seed = 0
    """Seed that draws the validation images."""

    def inputs(self, place: Place) -> list[Path]:
        if self.folder is None:
            return []
        return list(find_idx(Path(self.folder), place("folder")).values())

    def read(self, place: Place) -> tuple[dict, int]:
        from muonlab.data.vision import hold_out

        if self.folder is not None:
            parts = read_folder(Path(self.folder), place("folder"))
        else:
            with tempfile.TemporaryDirectory() as root:
                _download(root, place)
                parts = read_folder(Path(root), place("folder"))
        train, validation = hold_out(
            parts["train"], self.validation, self.split_seed, place("validation")
        )
        return {"train": train, "validation": validation, "test": parts["test"]}, 255


def find_idx(folder: Path, field: str) -> dict[str, Path]:
    """The four IDX files, plain or .gz, in `folder`, `folder`/raw or `folder`/FashionMNIST/raw.

    A plain file takes precedence over a gzipped one. Raises UserError that names missing files.
    """
    if not folder.is_dir():
        raise UserError(f"{field}: the folder {folder} does not exist")
    places = [folder, folder / "raw", folder / "FashionMNIST" / "raw"]
    candidates = [
        {
            key: next((p for p in (place / stem, place / f"{stem}.gz") if p.is_file()), None)
            for key, stem in IDX_FILES.items()
        }
        for place in places
    ]
    best = max(candidates, key=lambda found: sum(p is not None for p in found.values()))
    missing = [IDX_FILES[key] for key, path in best.items() if path is None]
    if missing:
        raise UserError(
            f"{field}: {folder} lacks {', '.join(missing)} (plain or .gz; the files may also lie "
            f"in its subfolders raw or FashionMNIST/raw)"
        )
    return best


def read_folder(folder: Path, field: str) -> dict:
    """The official train and test parts from a folder of IDX files."""
    from muonlab.data.idx import read_idx
    from muonlab.data.labelled import Labelled

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
                f"{files[f'{part}_labels']}: has the label {labels.max()}, but only 0 to 9 are "
                f"allowed"
            )
        parts[part] = Labelled(images.reshape(len(images), -1), labels)
    return parts


def _download(root: str, place: Place) -> None:
    """Downloads FashionMNIST through torchvision. Raises UserError that says why it failed."""
    advice = f"name a folder that holds its IDX files in {place('folder')}"
    try:
        from torchvision.datasets import FashionMNIST
    except (ImportError, RuntimeError) as failure:
        raise UserError(
            f"{place()}: torchvision, which downloads FashionMNIST, cannot be imported with this "
            f"version of torch ({first_line(failure)}); {advice}"
        ) from failure
    try:
        FashionMNIST(root, download=True)
    except (OSError, RuntimeError) as failure:
        raise UserError(
            f"{place()}: FashionMNIST could not be downloaded ({first_line(failure)}); {advice}"
        ) from failure
