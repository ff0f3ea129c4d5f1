"""One row for each reporting run, and the summary of each arm over its seeds."""

from collections.abc import Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.crossings import by_run, crossings
from muonlab.report.records import listed
from muonlab.statistics.intervals import mean_interval

OUTCOMES = (
    "final_loss",
    "final_accuracy",
    "test_loss",
    "test_accuracy",
    "best_loss",
    "seconds_per_epoch",
    "cpu_seconds_per_epoch",
)
# Seconds of training, and those that evaluating and recording within it took.
WATCHED = ("seconds_in_updates", "seconds_in_watching")


@table(
    section="tables",
    outputs={
        "runs": (
            "runs",
            "One row for each reporting run of **{title}** on *{data}* (protocol: {protocol}). "
            "``run`` is the folder that holds its records. ``step_at_loss_1`` to "
            "``step_at_loss_{levels}`` are the steps at which the run came to losses that every "
            "run of the study passed (``level_at_loss_1`` and so on, the lowest last), "
            "interpolated between evaluations, with the tokens and the seconds of training until "
            "then; they are infinite for a run that diverged, and diverged runs do not count for "
            "these losses. ``code_digest`` and ``observer_digest`` "
            "name the versions of the training code and of the observers' code.",
        ),
        "summary": (
            "summary",
            "Mean, standard deviation and {interval} t interval of each outcome over n = {n} seeds "
            "per arm of **{title}** on *{data}* (protocol: {protocol}). Where a seed diverged, "
            "the mean cannot be estimated and is left empty; no seed is dropped. "
            "``step_at_loss_1`` to ``step_at_loss_{levels}`` are steps to the losses ``level``, "
            "which every run of the study passed, with the tokens and the seconds until then.",
        ),
    },
)
def runs(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    metrics: pd.DataFrame,
    study: dict,
) -> dict[str, pd.DataFrame]:
    when = crossings(metrics, runs, summaries, provenances, study["levels"])
    table = runs_table(runs, summaries, provenances, when)
    return {"runs": table, "summary": summary_table(table, study)}


def runs_table(
    runs: Sequence[dict],
    summaries: Sequence[dict],
    provenances: Sequence[dict],
    when: pd.DataFrame,
) -> pd.DataFrame:
    """One row for each run. `runs`: arm, seed and run (the folder's name); `summaries` and
    `provenances` are the records of the runs, in the same order; `when` is `crossings`."""
    rows = []
    times, levels = by_run(when), when.groupby("point")["level"].first()
    told = {f"level_at_{point.replace(' ', '_')}": level for point, level in levels.items()}
    for run, summary, provenance in zip(runs, summaries, provenances, strict=True):
        rows.append(
            {"arm": run["arm"], "seed": run["seed"]}
            | {k: summary[k] for k in ("final_loss", "final_accuracy", "test_loss")}
            | {k: summary[k] for k in ("test_accuracy", "best_loss", "best_step", "steps")}
            | {"diverged": summary["diverged"], "diverged_at": summary["diverged_at"]}
            | told
            | times.loc[(run["arm"], run["seed"])].to_dict()
            | {"parameters": summary["parameters"], "evaluated_on": summary["evaluated_on"]}
            | {k: provenance[k] for k in ("seconds", "seconds_per_epoch", "cpu_seconds_per_epoch")}
            | {name: provenance.get(name) for name in WATCHED}
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
    times = [name for name in runs if "_at_loss_" in name and not name.startswith("level")]
    for arm in study["arms"]:
        own = runs[runs.arm == arm["name"]]
        for outcome in (*OUTCOMES, *times):
            level = f"level_{outcome.partition('_')[2]}"
            values = own[outcome].astype(float)
            interval = mean_interval(values.to_numpy(), study["alpha"])
            rows.append(
                {
                    "arm": arm["name"],
                    "label": arm["label"],
                    "outcome": outcome,
                    "level": runs[level].iloc[0] if outcome in times else None,
                    "n": len(own),
                    "diverged": int(own.diverged.sum()),
                    "mean": values.iloc[0] if len(own) == 1 else interval.mean,
                    "sd": interval.sd,
                    "low": interval.low,
                    "high": interval.high,
                    "settings": listed(arm["settings"]),
                    "edge": listed(arm["edges"]),
                    "tuned": arm["tuned"],
                    "data": arm.get("data", study["data"]),
                    "protocol": study["protocol"],
                }
            )
    return pd.DataFrame(rows)
