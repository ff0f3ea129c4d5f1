"""The study's tables: one row a run, a summary with intervals, and every tuning trial."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from muonlab.io.atomic import replacing
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


def runs_table(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    matched: Sequence[dict],
) -> pd.DataFrame:
    """One row for each reporting run. `runs`: arm, seed and run (the folder's name)."""
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
            | {"code_digest": provenance["code_digest"], "run": run["run"]}
        )
    return pd.DataFrame(rows)


def summary_table(runs: pd.DataFrame, study: dict) -> pd.DataFrame:
    """Mean, sd and 95 % t interval over seeds of each outcome of each arm.

    A diverged seed makes the mean of that outcome not estimable; it is counted, never dropped. Of
    a single seed the mean is its value, without an interval.
    """
    rows = []
    for arm in study["arms"]:
        own = runs[runs.arm == arm["name"]]
        for outcome in OUTCOMES:
            values = own[outcome].astype(float)
            interval = mean_interval(values.to_numpy())
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
                    "settings": _settings(arm["settings"]),
                    "edge": _settings(arm["edges"]),
                    "tuned": arm["tuned"],
                    "data": study["data"],
                    "protocol": study["protocol"],
                }
            )
    return pd.DataFrame(rows)


def tuning_table(selection: dict) -> pd.DataFrame:
    """One row for each tuning run, with the trial's score over seeds, its rank and the choice."""
    rows = []
    for trial in selection["trials"]:
        chosen = selection["arms"][trial["arm"]]
        is_chosen = chosen["settings"] == trial["settings"]
        rows.append(
            {"arm": trial["arm"], **trial["settings"], "seed": trial["seed"]}
            | {k: trial[k] for k in ("final_loss", "best_loss", "best_step", "diverged")}
            | {"chosen": is_chosen, "edge": _settings(chosen["edges"]) if is_chosen else ""}
            | {"evaluated_on": trial["evaluated_on"], "run": trial["run"]}
        )
    return pd.DataFrame(rows)


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Writes the table atomically; floats keep every digit, what is not estimable stays empty."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _settings(values: dict) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
