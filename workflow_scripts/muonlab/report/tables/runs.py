"""One row for each reporting run, and the summary of each arm over its seeds."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.records import listed
from muonlab.statistics.intervals import mean_interval

OUTCOMES = (
    "final_loss",
    "final_accuracy",
    "test_loss",
    "test_accuracy",
    "best_loss",
    "matched_step",
    "seconds_per_epoch",
    "cpu_seconds_per_epoch",
)


@table(
    section="tables",
    outputs={
        "runs": (
            "runs",
            "One row for each reporting run of **{title}** on *{data}* (protocol: {protocol}). "
            "``run`` is the folder that holds its records. ``matched_step`` is the step of the "
            "first evaluation whose loss is at or under the matched loss {target_loss}; it is "
            "empty where the run did not reach that loss. ``code_digest`` and ``observer_digest`` "
            "name the versions of the training code and of the observers' code.",
        ),
        "summary": (
            "summary",
            "Mean, standard deviation and {interval} t interval of each outcome over n = {n} seeds "
            "per arm of **{title}** on *{data}* (protocol: {protocol}). Where a seed diverged, or "
            "did not reach the matched loss, the mean cannot be estimated and is left empty; no "
            "seed is dropped.",
        ),
    },
)
def runs(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    matched: Sequence[dict],
    study: dict,
) -> dict[str, pd.DataFrame]:
    by_run = runs_table(runs, summaries, provenances, matched)
    return {"runs": by_run, "summary": summary_table(by_run, study)}


def runs_table(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    matched: Sequence[dict],
) -> pd.DataFrame:
    """One row for each run. `runs`: arm, seed and run (the folder's name); the other arguments are
    the records of the runs, in the same order."""
    rows = []
    for run, summary, provenance, match in zip(runs, summaries, provenances, matched, strict=True):
        rows.append(
            {"arm": run["arm"], "seed": run["seed"]}
            | {k: summary[k] for k in ("final_loss", "final_accuracy", "test_loss")}
            | {k: summary[k] for k in ("test_accuracy", "best_loss", "best_step", "steps")}
            | {"diverged": summary["diverged"], "diverged_at": summary["diverged_at"]}
            | {"target_loss": match["target_loss"], "reached_target": match["reached"]}
            | {"matched_step": match["step"] if match["reached"] else None}
            | {"matched_loss": match["loss"] if match["reached"] else None}
            | {"parameters": summary["parameters"], "evaluated_on": summary["evaluated_on"]}
            | {k: provenance[k] for k in ("seconds", "seconds_per_epoch", "cpu_seconds_per_epoch")}
            | {k: provenance[k] for k in ("peak_host_bytes", "device", "device_type", "threads")}
            | {"code_digest": provenance["code_digest"]}
            | {"observer_digest": provenance.get("observer_digest"), "run": run["run"]}
        )
    return pd.DataFrame(rows)


def summary_table(runs: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Mean, sd and t interval over seeds of each outcome of each arm.

    A diverged seed makes the mean of that outcome not estimable; it is counted, never dropped. With
    a single seed the mean is its value, without an interval.
    """
    rows = []
    for arm in study["arms"]:
        own = runs[runs.arm == arm["name"]]
        for outcome in OUTCOMES:
            values = own[outcome].astype(float)
            interval = mean_interval(values.to_numpy(), study["alpha"])
            rows.append(
                {
                    "arm": arm["name"],
                    "label": arm["label"],
                    "outcome": outcome,
                    "n": len(own),
                    "diverged": int(own.diverged.sum()),
                    "mean": values.iloc[0] if len(own) == 1 else interval.mean,
                    "sd": interval.sd,
                    "low": interval.low,
                    "high": interval.high,
                    "settings": listed(arm["settings"]),
                    "edge": listed(arm["edges"]),
                    "tuned": arm["tuned"],
                    "data": study["data"],
                    "protocol": study["protocol"],
                }
            )
    return pd.DataFrame(rows)
