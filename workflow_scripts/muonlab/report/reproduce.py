"""Verifies an unpacked reproducibility package: its files, and its tables, which are made anew from
its records and compared."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from muonlab.report.given import arguments, function_of
from muonlab.report.packing import JOBS, MANIFEST, digest

TOLERANCE = 1e-6  # relative, of numbers that another machine computes


def changed_files(folder: Path) -> list[str]:
    """The files of the manifest that are missing or differ."""
    known = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return [
        name
        for name, sha in known.items()
        if not (folder / name).is_file() or digest(folder / name) != sha
    ]


def rebuilt_tables(folder: Path) -> Iterator[tuple[str, str]]:
    """(table, "" or how it differs) for each table, made anew from the records of the package.

    Paths are those of the package, so this must run in `folder`.
    """
    for job in json.loads((folder / JOBS).read_text(encoding="utf-8")):
        made = function_of(job["make"])(**arguments(job, job["inputs"]))
        for name, path in job["outputs"].items():
            table = made[name] if isinstance(made, Mapping) else made
            kept = pd.read_csv(folder / path)
            yield path, difference(_as_read(table), kept)


def difference(new: pd.DataFrame, kept: pd.DataFrame) -> str:
    """How two tables differ beyond the rounding of another machine; empty if they do not."""
    if list(new) != list(kept):
        return "other columns"
    if len(new) != len(kept):
        return f"{len(new)} rows and not {len(kept)}"
    for name in kept:
        one, other = new[name], kept[name]
        numbers = pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other)
        if numbers:
            a, b = one.to_numpy(dtype=float), other.to_numpy(dtype=float)
            if not np.allclose(a, b, rtol=TOLERANCE, atol=1e-12, equal_nan=True):
                return f"the column {name} by up to {np.nanmax(np.abs(a - b)):.3g}"
        elif not one.fillna("").astype(str).equals(other.fillna("").astype(str)):
            return f"the column {name}"
    return ""


def _as_read(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is after it was written and read, so that only its content counts."""
    from io import StringIO

    return pd.read_csv(StringIO(table.to_csv(index=False)))
