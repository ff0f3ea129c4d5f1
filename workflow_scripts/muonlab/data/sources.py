"""The files that a data set is made from; without numpy, since every parse of the rules asks."""

import glob
from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def source_files(name: str, plan: Any) -> list[str]:
    """The files behind the data set `name` of a plan, sorted; none where it needs no file."""
    section = plan.data[name]
    found: list[Path] = []
    if section.get("folder") is not None:
        folder = plan.place("data", name, "folder")
        found += find_idx(Path(section["folder"]), folder).values()
    if section["source"] == "local":
        found += text_files(section["files"], plan.place("data", name, "files"))
    if section.get("tokenizer") is not None and is_tokenizer_file(section["tokenizer"]):
        found.append(tokenizer_file(section["tokenizer"], plan.place("data", name, "tokenizer")))
    return sorted(map(str, found))


def text_files(patterns: list[str], field: str) -> list[Path]:
    """The files that paths and globs (`**` reaches into folders) name, each once.

    They come in the order of the list, those of one glob sorted. Raises UserError naming the entry
    of `field` that no file answers to, or that is a folder or a compressed file.
    """
    found: dict[Path, None] = {}
    for position, pattern in enumerate(patterns):
        entry = f"{field}[{position}]"
        # A name is taken as it stands first: it may have brackets in it.
        names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        if not names:
            matches = "matches no file" if glob.has_magic(pattern) else "does not exist"
            raise UserError(f"{entry}: {pattern} {matches}")
        files = [Path(name) for name in names if Path(name).is_file()]
        if not files:
            raise UserError(f"{entry}: {pattern} is a folder; name its files, such as {pattern}/*")
        for file in files:
            if file.suffix.lower() in COMPRESSED:
                raise UserError(f"{entry}: {file} is compressed; unpack it first")
            found[file] = None
    return list(found)


def is_tokenizer_file(tokenizer: str) -> bool:
    """Whether `tokenizer` is the path of a file; else it is a name on the hub."""
    return tokenizer.endswith(".json")


def tokenizer_file(tokenizer: str, field: str) -> Path:
    """The tokenizer's file; raises UserError where it does not exist."""
    if not Path(tokenizer).is_file():
        raise UserError(f"{field}: the file {tokenizer} does not exist")
    return Path(tokenizer)


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
