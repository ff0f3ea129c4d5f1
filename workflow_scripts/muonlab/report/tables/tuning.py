"""Every tuning run, with its settings, its losses and whether its settings were chosen."""

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.statistics.intervals import MeanInterval, mean_interval

CHOICES = ["arm", "trials", "seeds", "chosen", "score", "edge"]
CHOICES += ["runner_up", "behind", "low", "high", "told_apart"]


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
        "choices": (
            "chosen settings",
            "What tuning chose for each arm of **{title}** on *{data}*, and the second-best trial: "
            "``behind`` is how far its loss lies above the chosen one's, seed by seed, with its "
            "{interval} interval over the tuning seeds. ``told_apart`` is *no* if that interval "
            "includes 0; the choice between the two is then partly luck.",
        ),
    },
)
def tuning(selection: dict, study: dict) -> dict[str, pd.DataFrame]:
    return {"tuning": trials_table(selection), "choices": choices_table(selection, study)}


def choices_table(selection: dict, study: dict) -> pd.DataFrame:
    """One row for each tuned arm: its choice, and whether the second-best trial can be told apart
    from it. It can if the interval of its paired difference, over the tuning seeds, excludes 0."""
    rows = []
    for name, chosen in selection["arms"].items():
        row = {"arm": name, "trials": chosen["trials"], "seeds": len(selection["seeds"])}
        row |= {"chosen": listed(chosen["settings"]), "score": chosen["score"]}
        row |= {"edge": listed(chosen["edges"])}
        second = chosen["runner_up"]
        if second is not None:
            behind = [np.nan if b is None else b for b in second["behind"]]
            found = mean_interval(behind, study["alpha"])
            row |= {"runner_up": listed(second["settings"]), "behind": found.mean}
            row |= {"low": found.low, "high": found.high, "told_apart": told_apart(found)}
        rows.append(row)
    return pd.DataFrame(rows, columns=CHOICES).assign(data=study["data"])


def told_apart(found: MeanInterval) -> str:
    if not np.isfinite(found.low):
        return "not estimable"
    return "yes" if found.low > 0 else "no"


def trials_table(selection: dict) -> pd.DataFrame:
    """One row for each tuning run."""
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
