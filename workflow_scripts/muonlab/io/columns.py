"""Long-form records as parquet: the same bytes for the same records."""

import os
from collections.abc import Iterable, Mapping

from muonlab.io.atomic import replacing


def write_records(
    path: str | os.PathLike, records: Iterable[Mapping], columns: Mapping[str, type]
) -> None:
    """Writes the records' `columns`, each of type str, int, float or bool; what a record does not
    have is null. Texts are stored once each. No records give an empty table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        str: pa.dictionary(pa.int32(), pa.string()),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    records = list(records)
    arrays = [
        pa.array([record.get(name) for record in records], type=types[kind])
        for name, kind in columns.items()
    ]
    with replacing(path) as temporary:
        pq.write_table(pa.table(arrays, names=list(columns)), temporary)
