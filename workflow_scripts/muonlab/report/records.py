"""Records and tables as files: tidy pandas frames in and out."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from muonlab.io.atomic import replacing


def read_curves(
    runs: Sequence[dict],
    files: Sequence[str | Path],
    kept: Callable[[pd.DataFrame], pd.DataFrame] = lambda records: records,
) -> pd.DataFrame:
    """The long-form records of all runs, with the columns arm and seed first. `files[i]` holds the
    records of `runs[i]` (arm, seed), of which `kept` chooses those that are returned."""
    frames = []
    for run, file in zip(runs, files, strict=True):
        frame = _read(file, kept)
        frame.insert(0, "arm", run["arm"])
        frame.insert(1, "seed", run["seed"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def read_arms(arms: Sequence[str], files: Sequence[str | Path]) -> pd.DataFrame:
    """The long-form records of all arms, with the column arm first. Each arm has one file, in which
    the seeds of its runs are a column."""
    frames = []
    for arm, file in zip(arms, files, strict=True):
        frame = _read(file)
        frame.insert(0, "arm", arm)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def read_parts(files: Sequence[str | Path], part: str) -> list[dict]:
    """One part of the record in each file. The rest of a record is dropped before the next is read,
    since those of thousands of runs are larger than everything that is computed from them."""
    return [json.loads(Path(file).read_text())[part] for file in files]


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Writes the table atomically. Floats keep every digit; what is not estimable stays empty."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def loss_of(record: Mapping, column: str) -> float:
    """A loss, accuracy or other result of a trial or of a run's summary; NaN where it diverged,
    even if it is a number: a run that ends above where it began has diverged."""
    value = None if record["diverged"] else record[column]
    return math.nan if value is None else float(value)


def listed(values: Mapping) -> str:
    """Settings in a cell of a table: `lr=0.1, momentum=0.9`."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _read(
    file: str | Path, kept: Callable[[pd.DataFrame], pd.DataFrame] = lambda records: records
) -> pd.DataFrame:
    frame = kept(pd.read_parquet(file))
    # Strings are read back as categories, and the categories differ from run to run.
    texts = {name: str for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)}
    return frame.astype(texts)
