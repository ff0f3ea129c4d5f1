"""What it costs to store weights in fewer bits, as means over seeds."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.levels import diverged_runs, with_levels
from muonlab.report.measured import over_seeds, with_degradation


@table(
    section="tables",
    outputs={
        "quantization": (
            "quantization",
            "Test accuracy and loss of the models with their weight matrices in fewer bits, the "
            "change against full precision (``accuracy_drop``, ``loss_rise``: positive is worse), "
            "and each matrix's relative error, largest weight and share of weights that became "
            "zero: mean, standard deviation and {interval} t interval over the seeds of each arm "
            "of **{title}** on *{data}* (protocol: {protocol}). Activations stay in full "
            "precision. ``tensor_quantile`` takes its scale from a quantile, which clips a "
            "thousandth of the weights. A group is 128 weights of a row, so that rows of at most "
            "128 weights are quantized alike by group and by channel. At *loss 1* to *loss "
            "{levels}* all arms have the test loss ``level`` in full precision, which every run "
            "passed; values are interpolated between the two snapshots beside it.",
        ),
    },
)
def quantization(
    quantization_records: pd.DataFrame, runs: Sequence[dict], summaries: Sequence[dict], study: dict
) -> pd.DataFrame:
    keys = ["scheme", "bits", "tensor", "component", "metric"]
    records = with_degradation(quantization_records)
    records = with_levels(records, keys, diverged_runs(runs, summaries), study["levels"])
    return over_seeds(records, ["point", "level", *keys], study)
