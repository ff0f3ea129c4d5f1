"""Fills a folder atomically: it has all of its files, or those from before."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def fill(folder: str | os.PathLike, files: Mapping[str, str | Path]) -> None:
    """Makes `folder` hold exactly `files`: texts, or paths of files that are copied, by their names
    in the folder, in which / separates subfolders.

    ValueError for a name that leads out of the folder.
    """
    target = Path(folder)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        for name, content in files.items():
            file = partial / name
            if not file.resolve().is_relative_to(partial.resolve()):
                raise ValueError(f"{name} leads out of the folder.")
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, file)
            else:
                file.write_text(content, encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
