"""Where gradients vanished, exploded or were no numbers."""

import pandas as pd

from muonlab.declare import table

FLAGS = {
    "vanishing_gradient": "vanishing",
    "exploding_gradient": "exploding",
    "gradient_nan": "NaN",
    "gradient_inf": "Inf",
}


@table(
    section="dynamics",
    outputs={
        "gradient_flags": (
            "vanishing and exploding gradients",
            "How many records of each run of **{title}** on *{data}* (protocol: {protocol}) have "
            "gradients that vanish (norm below 1e-7), explode (norm over 1000) or hold NaN or Inf: "
            "of all tensors together (component ``all``, always listed) and of each component in a "
            "layer where there are any. ``first_step`` is the first such record.",
        ),
    },
)
def gradient_flags(layer_component_records: pd.DataFrame) -> pd.DataFrame:
    """One row for each run, component, layer and flag."""
    own = layer_component_records[layer_component_records.metric.isin(FLAGS)]
    whole = own.component == "all"
    own = own[(whole & own.layer.isna()) | (~whole & own.layer.notna())]
    rows = []
    keys = ["arm", "seed", "component", "layer", "metric"]
    for (arm, seed, component, layer, metric), found in own.groupby(keys, sort=False, dropna=False):
        flagged = found[found.value > 0]
        if len(flagged) or component == "all":
            rows.append(
                {"arm": arm, "seed": seed, "component": component, "layer": layer}
                | {"flag": FLAGS[metric], "records": len(flagged)}
                | {"first_step": flagged.step.min() if len(flagged) else None}
            )
    columns = ["arm", "seed", "component", "layer", "flag", "records", "first_step"]
    return pd.DataFrame(rows, columns=columns).astype({"layer": "Int64", "first_step": "Int64"})
