"""The files that a data set is made from; without numpy, since every parse of the rules asks."""

from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def source_files(name: str, plan: Any) -> list[str]:
    """The files behind the data set `name` of a plan, sorted; none where it needs no file."""
    folder = plan.data[name].get("folder")
    if folder is None:
        return []
    found = find_idx(Path(folder), plan.place("data", name, "folder"))
    return sorted(map(str, found.values()))


def find_idx(folder: Path, field: str) -> dict[str, Path]:
    """The four IDX files, plain or .gz, in `folder`, `folder`/raw or `folder`/FashionMNIST/raw.

    A plain file is taken before a gzipped one. Raises UserError naming what is missing.
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
            f"{field}: {folder} lacks {', '.join(missing)} (plain or .gz, there, in raw/ or in "
            f"FashionMNIST/raw/)"
        )
    return best
