"""Every tuning run, with its settings, its losses and whether its settings were chosen."""

import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed


@table(
    section="tables",
    outputs={
        "tuning": (
            "tuning",
            "Every tuning run of **{title}** on *{data}*: its settings, its final and its lowest "
            "loss, and whether tuning chose its settings. Results are never reported on tuning "
            "seeds. ``edge`` names chosen values that are the smallest or the largest of those "
            "tried, so that a better one may lie outside.",
        ),
    },
)
def tuning(selection: dict) -> pd.DataFrame:
    rows = []
    for trial in selection["trials"]:
        chosen = selection["arms"][trial["arm"]]
        is_chosen = chosen["settings"] == trial["settings"]
        rows.append(
            {"arm": trial["arm"], **trial["settings"], "seed": trial["seed"]}
            | {k: trial[k] for k in ("final_loss", "best_loss", "best_step", "diverged")}
            | {"chosen": is_chosen, "edge": listed(chosen["edges"]) if is_chosen else ""}
            | {"evaluated_on": trial["evaluated_on"], "run": trial["run"]}
        )
    return pd.DataFrame(rows)
