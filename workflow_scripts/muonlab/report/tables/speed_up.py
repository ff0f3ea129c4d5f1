"""How much sooner an arm reaches its final loss than a baseline of several lengths does."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.lengths import (
    CURVE,
    LENGTHS,
    UNITS,
    in_order,
    loss_curves,
    matrix,
    ratio_text,
    run_lengths,
)
from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.lengths import length_ratio
from muonlab.statistics.speedup import speed_up_table as speed_ups_of_curves

COLUMNS = ["arm", "baseline", "unit", "method", "n", "ratio", "low", "high", "shortest", "longest"]


@table(
    section="tables",
    outputs={
        "speed_up": (
            "speed-up",
            "How many times as long (in steps, tokens, seconds) the baseline of **{title}** has to "
            "train on *{data}* to end at the final loss of another arm, with {interval} bootstrap "
            "intervals over n = {n} paired seeds. ``lengths``: the baseline is run at several "
            "lengths, each with its own whole schedule, and its final loss is taken as linear in "
            "the logarithm of the length between them; nothing is known outside ``shortest`` to "
            "``longest``, where the ratio is 0 or infinite. ``one curve``: the usual reading, off "
            "the loss curve of the baseline's longest run alone, which compares the end of one "
            "schedule with the middle of another. Seconds are those "
            "of an update after warm-up, times the updates; on a CPU processor seconds. Protocol: "
            "{protocol}.",
        ),
        "speed_up_points": None,
    },
)
def speed_up(
    speed_up: Mapping,
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    metrics: pd.DataFrame,
    study: dict,
) -> dict[str, pd.DataFrame]:
    lengths = run_lengths(runs, summaries, provenances)
    rows = [*by_lengths(lengths, speed_up, study)]
    rows += by_curves(lengths, metrics, speed_up, study)
    found = pd.DataFrame(rows)
    found["said"] = [ratio_text(row) for row in found.itertuples()]
    found = found[[*COLUMNS, "said", "warning"]]
    found = found.assign(data=study["data"], protocol=study["protocol"])
    return {"speed_up": found, "speed_up_points": points(lengths, speed_up, study)}


def by_lengths(lengths: pd.DataFrame, plan: Mapping, study: dict) -> Iterator[dict]:
    """A row for each arm and unit: the ratio against the baseline's runs of all lengths."""
    baselines = in_order(lengths, [plan["baseline"], *plan["longer"]])
    losses = matrix(lengths, baselines, "loss")
    for arm in plan["arms"]:
        finals = matrix(lengths, [arm], "loss")[:, 0]
        for unit in UNITS:
            x, own = matrix(lengths, baselines, unit), matrix(lengths, [arm], unit)[:, 0]
            if not np.isfinite(x).all() or not np.isfinite(own).all():
                continue  # the runs are too short to time an update
            if not (np.diff(x.mean(axis=0)) > 0).all():
                continue  # the seconds of a longer run were measured as fewer
            found = length_ratio(x, losses, own, finals, study["alpha"])
            facts = {"arm": arm, "baseline": plan["baseline"], "unit": unit, "method": LENGTHS}
            yield facts | vars(found)


def by_curves(
    lengths: pd.DataFrame, metrics: pd.DataFrame, plan: Mapping, study: dict
) -> Iterator[dict]:
    """The same off the loss curve of the baseline's longest run."""
    curves = loss_curves(metrics, study)
    each = lengths.assign(token=lengths.token / lengths.step, second=lengths.second / lengths.step)
    curves = curves.merge(each[["arm", "seed", "token", "second"]], on=["arm", "seed"])
    curves = curves.assign(token=curves.token * curves.step, second=curves.second * curves.step)
    units = [unit for unit in UNITS if np.isfinite(curves[unit]).all()]
    longest = in_order(lengths, [plan["baseline"], *plan["longer"]])[-1]
    pairs = [(arm, longest) for arm in plan["arms"]]
    found = speed_ups_of_curves(curves, pairs, units, alpha=study["alpha"])
    for row in found.to_dict("records"):
        yield row | {"method": CURVE, "shortest": 0.0, "longest": row["measurable"]}


def points(lengths: pd.DataFrame, plan: Mapping, study: dict) -> pd.DataFrame:
    """The mean final loss of each arm that is compared: arm, of (its optimizer's line in the
    figure), steps, length (relative to the baseline's), n, diverged, mean, low, high."""
    base = lengths[lengths.arm == plan["baseline"]].step.max()
    rows = []
    for of, arms in {"arm": plan["arms"], "baseline": [plan["baseline"], *plan["longer"]]}.items():
        for arm in in_order(lengths, arms):
            own = lengths[lengths.arm == arm]
            mean = mean_interval(own.loss.to_numpy(), study["alpha"])
            value = own.loss.iloc[0] if len(own) == 1 else mean.mean
            row = {"of": of, "arm": arm, "steps": own.step.max(), "length": own.step.max() / base}
            row |= {"n": mean.n, "diverged": mean.diverged, "mean": value}
            rows.append(row | {"low": mean.low, "high": mean.high})
    return pd.DataFrame(rows)
