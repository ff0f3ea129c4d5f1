"""What the published sources print, beside what this study's runs give."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.end_values import end_values
from muonlab.statistics.hypothesis_tests import paired_t, welch_t
from muonlab.statistics.intervals import mean_interval

SIDES = ["published", "published_a", "published_b", "n", "ours", "low", "high", "ours_a", "ours_b"]
COLUMNS = ["claim", "words", "quantity", "unit", "outcome", "arm_a", "arm_b", *SIDES]
COLUMNS += ["source", "where", "faults"]


@table(
    section="tables",
    outputs={
        "published_numbers": (
            "the sources' own numbers",
            "What the published sources print, beside what the runs of **{title}** on *{data}* "
            "give (protocol: {protocol}), for every claim that arms of this study can test. Where "
            "two arms are named, ``published`` and ``ours`` are the difference a − b (or, where "
            "the unit is %, by how many percent a is above b), else the value of arm a. ``low`` "
            "and ``high`` are the {interval} t interval over n = {n} seeds, by seed where runs are "
            "paired; it is not corrected for the number of rows, and a single seed has none. An "
            "empty ``published`` means that the source prints no such number, for the reason that "
            "``where`` gives. ``faults`` is what is known to be wrong with the source's "
            "comparison. Data and size of the model differ from the source's unless the caption "
            "names the same data, so only signs and orders of magnitude can be compared.",
        ),
    },
)
def published_numbers(
    published: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    study: dict,
    spectra_records: pd.DataFrame | None = None,
    curvature_records: pd.DataFrame | None = None,
    quantization_records: pd.DataFrame | None = None,
) -> pd.DataFrame:
    measured = spectra_records, curvature_records, quantization_records
    values = end_values(runs, summaries, provenances, *measured)
    return numbers_table(published, values, study)


def numbers_table(published: Sequence[dict], values: pd.DataFrame, study: dict) -> pd.DataFrame:
    """One row for each of `published` (see `plan.published`) whose outcome the runs have.

    `values`: arm, seed, outcome, value. A diverged run leaves our side empty; the row stays.
    """
    rows = []
    for record in published:
        own = values[values.outcome == record["outcome"]]
        arms = [arm for arm in (record["a"], record["b"]) if arm is not None]
        if not set(arms) <= set(own.arm):
            continue
        sides = [own[own.arm == arm].set_index("seed").value.sort_index() for arm in arms]
        row = {k: record[k] for k in ("claim", "words", "quantity", "unit", "outcome")}
        row |= {"arm_a": record["a"], "arm_b": record["b"]}
        row |= _printed(record) | _ours(sides, record["relative"], study)
        rows.append(row | {k: record[k] for k in ("source", "where", "faults")})
    found = pd.DataFrame(rows, columns=COLUMNS).astype({"claim": "Int64"})
    return found.assign(data=study["data"], protocol=study["protocol"])


def _printed(record: dict) -> dict:
    printed = [float(number) for number in record["printed"]]
    a, b = [*printed, np.nan, np.nan][:2]
    if record["b"] is not None and len(printed) == 2:
        value = 100 * (a / b - 1) if record["relative"] else a - b
    else:
        value, a = a, np.nan
    return {"published": value, "published_a": a, "published_b": b}


def _ours(sides: Sequence[pd.Series], relative: bool, study: dict) -> dict:
    """n, and our value with its t interval: of one arm, of a − b, or of 100·(a/b − 1)."""
    alpha, paired = study["alpha"], bool(study["training"]["paired"])
    means = [float(np.mean(side.to_numpy())) for side in sides]
    if len(sides) == 1:
        interval = mean_interval(sides[0].to_numpy(), alpha)
        found, ours = (interval.low, interval.high), means[0]
    elif relative:
        ours, found = 100 * (means[0] / means[1] - 1), (np.nan, np.nan)
        if paired:
            change = (100 * (sides[0] / sides[1] - 1)).to_numpy()
            interval = mean_interval(change, alpha)
            ours, found = float(np.mean(change)), (interval.low, interval.high)
    else:
        test = (paired_t if paired else welch_t)(*(side.to_numpy() for side in sides), alpha)
        found, ours = (test.low, test.high), means[0] - means[1]
    a, b = [*means, np.nan][:2]
    row = {"n": min(map(len, sides)), "ours": ours, "low": found[0], "high": found[1]}
    return row | {"ours_a": a, "ours_b": b}
