"""Where the attention of finished models looks and how their routers spread tokens, over seeds."""

import pandas as pd

from muonlab.declare import table
from muonlab.report.measured import over_seeds


@table(
    section="evaluation",
    outputs={
        "attention": (
            "attention and routing",
            "At the end of the runs of **{title}**, on validation text of *{data}*, by layer: "
            "means over heads of ``attention_entropy`` (nats), ``relative_entropy`` (over that of "
            "uniform attention) and ``mean_distance`` (tokens back), and with experts "
            "``expert_load_entropy`` and ``router_entropy`` (over ln E; 1 is even); mean, standard "
            "deviation and {interval} t interval over n = {n} seeds. Protocol: {protocol}.",
        ),
    },
)
def attention(attention_patterns_records: pd.DataFrame, study: dict) -> pd.DataFrame:
    records = attention_patterns_records
    kept = records[~records.metric.isin(["map", "expert_load"])]
    keys = ["arm", "seed", "layer", "metric"]
    means = kept.groupby(keys, sort=False).value.mean().reset_index()
    return over_seeds(means, ["layer", "metric"], study)
