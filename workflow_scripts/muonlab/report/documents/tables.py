"""Tables as a reader sees them: few columns, few digits, and verdicts in words."""

import numpy as np
import pandas as pd

from muonlab.report.documents.blocks import Grid, Inline, plain
from muonlab.report.numbers import NONE, number

MOST_ROWS, MOST_COLUMNS = 40, 12
# Columns that say the same in every row, or that only a program reads.
LEFT_OUT = ("data", "protocol", "run", "code_digest", "observer_digest", "device_type", "records")


def shown(table: pd.DataFrame, rows: int = MOST_ROWS, columns: int = MOST_COLUMNS) -> Grid:
    """The first rows and columns of a table that hold something, numbers with three digits."""
    kept = [c for c in table if c not in LEFT_OUT and table[c].notna().any()][:columns]
    own = table[kept].head(rows)
    header = tuple(plain(name.replace("_", " ")) for name in kept)
    cells = tuple(tuple(cell(value) for value in row) for row in own.itertuples(index=False))
    return Grid(header, cells)


def cell(value: object) -> Inline:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return plain(NONE)
    if isinstance(value, (bool, np.bool_)):
        return plain("yes" if value else "no")
    if isinstance(value, (float, np.floating)):
        whole = float(value).is_integer() and abs(value) < 1e6
        return plain(f"{value:g}".replace("-", "−") if whole else number(float(value)))
    return plain(value)
