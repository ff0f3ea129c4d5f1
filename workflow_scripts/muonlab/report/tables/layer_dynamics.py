"""The geometry of every layer's matrices over training, beside what chance would give."""

import pandas as pd

from muonlab.declare import table
from muonlab.report.layers import condensed


@table(section="dynamics", outputs={"layer_dynamics": None})
def layer_dynamics(layer_geometry_records: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, step and matrix of a layer; `report.layers.condensed` has the columns.

    The report does not show it: it is what tables and figures about layers are made from.
    """
    return condensed(layer_geometry_records)
