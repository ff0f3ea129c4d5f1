"""Says whether other users of a machine could put files among ours."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def open_to_all(folders: Iterable[str | os.PathLike]) -> list[str]:
    """A sentence for each of the folders, and of the folders above them in the working directory,
    in which every user of the machine may create and replace files."""
    here = Path.cwd()
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        for place in (here, *reversed((here / folder).parents), here / folder):
            if place.is_relative_to(here) and place.exists():
                found[place] = None
    return [
        f"warning: every user of this machine may write to {place}, and so change what is run and "
        f"what is read from there (chmod o-w {place})"
        for place in found
        if (mode := place.stat().st_mode) & stat.S_IWOTH and not mode & stat.S_ISVTX
    ]
