"""Writes long-form records as parquet. The same records give the same bytes."""

import itertools
import os
from collections.abc import Iterable, Mapping

from muonlab.io.atomic import replacing

BATCH = 2**18  # number of records held in memory at a time


def write_records(
    path: str | os.PathLike, records: Iterable[Mapping], columns: Mapping[str, type]
) -> None:
    """Writes the `columns` of the records, each of type str, int, float or bool.

    A value that a record lacks is null. Each distinct text is stored once. Without records, the
    table is empty.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        str: pa.dictionary(pa.int32(), pa.string()),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    records = iter(records)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while batch := list(itertools.islice(records, BATCH)):
            arrays = [
                pa.array([record.get(name) for record in batch], type=field.type)
                for name, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=schema))
