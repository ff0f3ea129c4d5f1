"""One setting at a time: the runs that differ from a chosen arm in one number alone."""

from collections.abc import Iterator, Sequence

import pandas as pd

from muonlab.report.records import loss_of
from muonlab.tuning.selection import loss_column
from muonlab.tuning.space import is_number

TUNING, REPORTING, FIRST = "tuning", "reporting", "first reporting"


def grid_trials(grid_runs: Sequence[dict], grid_summaries: Sequence[dict]) -> list[dict]:
    """The runs over the grid of a study's `sensitivity`, in the form of tuning trials."""
    return [run | s for run, s in zip(grid_runs, grid_summaries, strict=True)]


def sweep_points(
    selection: dict,
    sweeps: Sequence[dict],
    runs: Sequence[dict],
    summaries: Sequence[dict],
    study: dict,
    grid_runs: Sequence[dict] | None = None,
    grid_summaries: Sequence[dict] | None = None,
) -> pd.DataFrame:
    """arm, field, value, seeds, seed, loss, reference: one row for each run of each sweep.

    For every arm tuned over a grid, each number of it is varied while the others keep their chosen
    values, over tuning seeds; the chosen value is the reference. The runs over the grid of
    `sensitivity`, if there is one, are varied in the same way, over the first reporting seeds.
    `sweeps` (arm, field, arms: [value, arm] pairs, reference) lists arms that differ from a tuned
    one in one number, over reporting seeds. The loss of a diverged run is NaN.
    """
    column = loss_column(selection["score"])
    grid = grid_trials(grid_runs or [], grid_summaries or [])
    rows = [
        *_tuned_points(selection["trials"], column, study, TUNING),
        *_tuned_points(grid, "final_loss", study, FIRST),
        *_arm_points(selection, sweeps, runs, summaries),
    ]
    columns = ["arm", "field", "value", "seeds", "seed", "loss", "reference"]
    return pd.DataFrame(rows, columns=columns)


def _tuned_points(
    all_trials: Sequence[dict], column: str, study: dict, seeds: str
) -> Iterator[dict]:
    for arm in study["arms"]:
        trials = [trial for trial in all_trials if trial["arm"] == arm["name"]]
        chosen = arm["settings"] | (trials[0].get("chosen", {}) if trials else {})
        for field in varied_fields(trials):
            on_axis = [t for t in trials if beside(t["settings"], chosen, {field})]
            # Trials of a search over a box do not vary one setting at a time.
            if len({t["settings"][field] for t in on_axis}) < 2:
                continue
            for trial in on_axis:
                value = trial["settings"][field]
                yield {
                    "arm": arm["name"],
                    "field": field,
                    "value": value,
                    "seeds": seeds,
                    "seed": trial["seed"],
                    "loss": loss_of(trial, column),
                    "reference": value == chosen[field],
                }


def _arm_points(
    selection: dict, sweeps: Sequence[dict], runs: Sequence[dict], summaries: Sequence[dict]
) -> Iterator[dict]:
    column = loss_column(selection["score"])
    for sweep in sweeps:
        values = {arm: value for value, arm in sweep["arms"]}
        for run, summary in zip(runs, summaries, strict=True):
            if run["arm"] in values:
                value = values[run["arm"]]
                yield {
                    "arm": sweep["arm"],
                    "field": sweep["field"],
                    "value": value,
                    "seeds": REPORTING,
                    "seed": run["seed"],
                    "loss": loss_of(summary, column),
                    "reference": value == sweep["reference"],
                }


def varied_fields(trials: Sequence[dict]) -> list[str]:
    """The fields for which an arm's trials have two or more different numbers."""
    fields = dict.fromkeys(field for trial in trials for field in trial["settings"])
    values = {field: {trial["settings"][field] for trial in trials} for field in fields}
    return [f for f, own in values.items() if len(own) > 1 and all(map(is_number, own))]


def beside(settings: dict, chosen: dict, free: set[str]) -> bool:
    """Whether a trial differs from the chosen settings only in the fields `free`."""
    return all(value == chosen[field] for field, value in settings.items() if field not in free)
