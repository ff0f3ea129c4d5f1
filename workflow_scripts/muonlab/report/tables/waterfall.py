"""Where a published gap between two optimizers goes, one correction after the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.statistics.paired import Paired, paired

PART = "part_loss"
COLUMNS = ["step", "label", "a", "b", "outcome", "n", "before", "gap", "gap_low", "gap_high"]
COLUMNS += ["gap_verdict", "gap_reason", "change", "change_low", "change_high", "change_verdict"]
COLUMNS += ["change_reason"]


@table(
    section="tables",
    outputs={
        "waterfall": (
            "where a published gap goes",
            "The gap between Muon (``a``) and AdamW (``b``) on *{data}*, a − b in nats, as one "
            "correction after the other is made to both, from the published setting to the fair "
            "one: the mean over n = {n} paired seeds with its {interval} t interval, and the "
            "change against the step before, seed by seed, with its own. A gap below 0 means that "
            "Muon ends lower. ``outcome`` is the loss that is compared: the final one on the whole "
            "split, the last one read on a part of it, or that of the test split. With fewer than "
            "four seeds there is no verdict. Protocol: {protocol}.",
        ),
    },
)
def waterfall(
    waterfall: Sequence[Mapping],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
) -> pd.DataFrame:
    """One row for each step, in the order of the config."""
    whole = study["training"].get("evaluation_examples") is None
    gaps = [gap_by_seed(step, runs, summaries, whole) for step in waterfall]
    rows, before = [], None
    for number, (step, gap) in enumerate(zip(waterfall, gaps, strict=True)):
        row = {"step": number, **{key: step[key] for key in ("label", "a", "b", "outcome")}}
        found = paired(gap, np.zeros(len(gap)), study["alpha"])
        row |= {"n": found.n, "gap": found.difference, **_described("gap", found)}
        if before is not None:
            found = paired(gap, before.reindex(gap.index), study["alpha"])
            row |= {"before": float(before.mean(skipna=False)), "change": found.difference}
            row |= _described("change", found)
        rows.append(row)
        before = gap
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(data=study["data"], protocol=study["protocol"])


def gap_by_seed(
    step: Mapping, runs: Sequence[dict], summaries: Sequence[dict], whole: bool
) -> pd.Series:
    """The loss of the step's arm a minus that of its arm b, by seed; NaN where a run diverged or
    has not recorded the step's outcome. `whole` says that every evaluation reads the whole split,
    so that the loss on a part is the final loss."""
    outcome = "final_loss" if step["outcome"] == PART and whole else step["outcome"]
    losses = pd.DataFrame(
        {
            "arm": run["arm"],
            "seed": run["seed"],
            "loss": np.nan if summary["diverged"] else summary.get(outcome),
        }
        for run, summary in zip(runs, summaries, strict=True)
        if run["arm"] in (step["a"], step["b"])
    )
    by_seed = losses.pivot(index="seed", columns="arm", values="loss").astype(float)
    return by_seed[step["a"]] - by_seed[step["b"]]


def _described(name: str, found: Paired) -> dict:
    return {
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        f"{name}_verdict": found.verdict,
        f"{name}_reason": found.reason,
    }
