"""Records and tables as files: tidy pandas frames in and out."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as arrow
from pyarrow import parquet

from muonlab.io.atomic import replacing


def read_curves(
    runs: Sequence[dict],
    files: Sequence[str | Path],
    kept: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """The long-form records of all runs, with the columns arm and seed first. `files[i]` holds the
    records of `runs[i]` (arm, seed), of which `kept` chooses those that are returned."""
    owners = [{"arm": run["arm"], "seed": run["seed"]} for run in runs]
    return _joined(owners, files, kept)


def read_arms(arms: Sequence[str], files: Sequence[str | Path]) -> pd.DataFrame:
    """The long-form records of all arms, with the column arm first. Each arm has one file, in which
    the seeds of its runs are a column."""
    return _joined([{"arm": arm} for arm in arms], files)


def _joined(
    owners: Sequence[Mapping],
    files: Sequence[str | Path],
    kept: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """The records in all files as one table; `owners[i]` are columns that are put in front of those
    in `files[i]`. Only the whole becomes a frame: making one of each file takes longer than
    reading it."""
    tables = []
    for owner, file in zip(owners, files, strict=True):
        table = _plain(parquet.read_table(file))
        if kept is not None:
            table = arrow.Table.from_pandas(kept(_frame(table)), preserve_index=False)
        for place, (name, value) in enumerate(owner.items()):
            column = arrow.repeat(arrow.scalar(value), table.num_rows)
            table = table.add_column(place, name, column)
        tables.append(table)
    return _frame(arrow.concat_tables(tables, promote_options="permissive"))


def _plain(table: arrow.Table) -> arrow.Table:
    """The table with strings in place of categories, which differ from run to run."""
    for place, column in enumerate(table.schema):
        if arrow.types.is_dictionary(column.type):
            values = table.column(place).cast(column.type.value_type)
            table = table.set_column(place, column.name, values)
    return table.replace_schema_metadata(None)


def _frame(table: arrow.Table) -> pd.DataFrame:
    return table.to_pandas(ignore_metadata=True)


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
