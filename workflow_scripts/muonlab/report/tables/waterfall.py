"""Where a published gap between two optimizers goes, one correction after the other."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.comparisons import compared
from muonlab.statistics.paired import paired

PART = "part_loss"
ENDS = ("", "_low", "_high", "_verdict", "_said")
COLUMNS = ["step", "label", "a", "b", "outcome", "n", "before"]
COLUMNS += [f"{name}{end}" for name in ("gap", "change") for end in ENDS]


@table(
    section="tables",
    outputs={
        "waterfall": (
            "where a published gap goes",
            "The gap between Muon (``a``) and AdamW (``b``) on *{data}*, a − b in nats, as one "
            "correction after the other is made to both, from the published setting to the fair "
            "one: the mean over n = {n} paired seeds, and the change against the step before, "
            "seed by seed, with simultaneous {interval} intervals. The changes are one family. A "
            "gap that the table *contrasts between arms* has too is taken from there, with its "
            "family; the others share the significance level over the number of steps. A gap below "
            "0 means that Muon ends lower. ``outcome`` is the loss that is compared: the final one "
            "on the whole split, the last one read on a part of it, or that of the test split. "
            "With fewer than four seeds there is no verdict. Protocol: {protocol}.",
        ),
    },
)
def waterfall(
    waterfall: Sequence[Mapping],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    metrics: pd.DataFrame,
    study: dict,
    contrasts: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each step, in the order of the config. A gap that `contrasts` (contrasts.csv) has
    too has the interval of its family there, so that one number has one verdict."""
    losses = loss_table(runs, summaries, metrics)
    gaps = [gap_by_seed(step, losses) for step in waterfall]
    rows, before = [], None
    for number, (step, gap) in enumerate(zip(waterfall, gaps, strict=True)):
        row = {"step": number, **{key: step[key] for key in ("label", "a", "b", "outcome")}}
        found = compared(contrasts, step["outcome"], step["a"], step["b"]) or paired(
            gap, np.zeros(len(gap)), study["alpha"], len(gaps)
        )
        row |= {"n": found.n, **found.columns("gap")}
        if before is not None:
            earlier = before.reindex(gap.index)
            found = paired(gap, earlier, study["alpha"], len(gaps) - 1)
            row |= {"before": float(before.mean(skipna=False)), **found.columns("change")}
        rows.append(row)
        before = gap
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(data=study["data"], protocol=study["protocol"])


def loss_table(
    runs: Sequence[dict], summaries: Sequence[dict], metrics: pd.DataFrame
) -> pd.DataFrame:
    """arm, seed, final_loss, part_loss, test_loss of each run; NaN where it diverged.

    `part_loss` is the last evaluation of the loss curve, which reads `evaluation_examples` of the
    split. `metrics`: arm, seed, step, split, metric, value.
    """
    curves = metrics[metrics.metric == "loss"].sort_values("step")
    parts = curves.groupby(["arm", "seed", "split"]).value.last()
    rows = []
    for run, summary in zip(runs, summaries, strict=True):
        key = run["arm"], run["seed"], summary["evaluated_on"]
        losses = {name: summary[name] for name in ("final_loss", "test_loss")}
        losses[PART] = parts.get(key, np.nan)
        if summary["diverged"]:
            losses = dict.fromkeys(losses, np.nan)
        rows.append({"arm": run["arm"], "seed": run["seed"], **losses})
    return pd.DataFrame(rows)


def gap_by_seed(step: Mapping, losses: pd.DataFrame) -> pd.Series:
    """The loss of the step's arm a minus that of its arm b, by seed. `losses` is `loss_table`."""
    by_seed = losses.pivot(index="seed", columns="arm", values=step["outcome"]).astype(float)
    return by_seed[step["a"]] - by_seed[step["b"]]
