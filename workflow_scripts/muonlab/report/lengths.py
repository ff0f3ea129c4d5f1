"""Runs of several lengths: what each used at its end, and how a ratio of lengths is said."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

UNITS = ("step", "token", "second")
# The two ways in which a speed-up is read: against baselines of several lengths, each with its own
# schedule, and off one curve of the baseline, whose learning rate had not decayed there.
LENGTHS, CURVE = "lengths", "one curve"


def run_lengths(
    runs: Sequence[dict], summaries: Sequence[dict], provenances: Sequence[dict]
) -> pd.DataFrame:
    """arm, seed, loss (the final one; inf for a run that diverged), step, token, second: what each
    run had used at its end.

    Seconds are processor seconds on a CPU, which a busy machine does not change, and wall seconds
    on a GPU: the median of an update after warm-up, times the number of updates. They are missing
    where a run is too short to time one. Images are counted as tokens are.
    """
    rows = []
    for run, summary, made in zip(runs, summaries, provenances, strict=True):
        lost = summary["diverged"] or summary["final_loss"] is None
        each = made["step_cpu_seconds" if made["device_type"] == "cpu" else "step_seconds"]
        rows.append(
            {"arm": run["arm"], "seed": run["seed"]}
            | {"loss": np.inf if lost else float(summary["final_loss"])}
            | {"step": float(summary["steps"]), "token": float(made["tokens"])}
            | {"second": np.nan if each is None else each * summary["steps"]}
        )
    return pd.DataFrame(rows)


def loss_curves(metrics: pd.DataFrame, study: dict) -> pd.DataFrame:
    """arm, seed, step, loss: every evaluation of every run."""
    evaluated = metrics.split == study["training"]["evaluate_on"]
    curves = metrics[(metrics.metric == "loss") & evaluated]
    return curves.rename(columns={"value": "loss"})[["arm", "seed", "step", "loss"]]


def ratio_text(row, times: str = "×") -> str:
    """The ratio of a row of speed_up.csv with its interval: "1.3 × [1.1, 1.5]".

    Beyond the lengths that were run it is "more than 2 ×" or "less than 1 ×".
    """
    if np.isnan(row.ratio):
        return "cannot be estimated"
    said = _end(row.ratio, row, times)
    if np.isnan(row.low) or np.isnan(row.high) or row.low == row.high:
        return said
    return f"{said} [{_end(row.low, row)}, {_end(row.high, row)}]"


def _end(value: float, row, times: str = "") -> str:
    unit = f" {times}" if times else ""
    if np.isinf(value):
        return f"more than {row.longest:.3g}{unit}"
    if value <= 0:
        return f"less than {row.shortest:.3g}{unit}"
    return f"{value:.3g}{unit}"


def in_order(lengths: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """The arms, the shortest first, by the steps of their longest runs."""
    steps: Mapping[str, float] = lengths.groupby("arm").step.max().to_dict()
    return sorted(arms, key=lambda arm: steps[arm])


def matrix(lengths: pd.DataFrame, arms: Sequence[str], column: str) -> np.ndarray:
    """The values (seeds, arms) of one column, the seeds in rising order."""
    return lengths.pivot(index="seed", columns="arm", values=column)[list(arms)].to_numpy()


def speed_up_sentences(table: pd.DataFrame, study: dict) -> Iterator[str]:
    """One item for each arm of speed_up.csv: the ratio in each unit, and beside it the reading off
    one curve."""
    labels = {arm["name"]: arm["label"] for arm in study["arms"]}
    for arm, own in table.groupby("arm", sort=False):
        sound, curve = own[own.method == LENGTHS], own[own.method == CURVE]
        baseline = labels[sound.baseline.iloc[0]]
        if sound.ratio.isna().all():
            yield f"- {labels[arm]}: its speed-up cannot be estimated, since runs diverged."
            continue
        sentence = (
            f"- {baseline} needs {_each(sound, study)} of {labels[arm]} to end at its final loss "
            f"(n = {sound.n.iloc[0]}; {baseline} was run at {sound.shortest.iloc[0]:.3g} to "
            f"{sound.longest.iloc[0]:.3g} times the length of {labels[arm]})."
        )
        warnings = [text for text in sound.warning if isinstance(text, str) and text]
        if warnings:
            sentence += f" **Warning:** {warnings[0]}."
        steps = curve[(curve.unit == "step") & curve.ratio.notna()]
        if len(steps):
            sentence += f" The usual reading, off the one curve of {labels[steps.baseline.iloc[0]]}"
            sentence += f", would say {ratio_text(steps.iloc[0])} the steps."
        yield sentence


def _each(rows: pd.DataFrame, study: dict) -> str:
    """The ratio in each unit; units with the same ratio are named together."""
    names = {"step": "steps", "token": "tokens", "second": "seconds"}
    if study["kind"] == "images":
        names["token"] = "images"
    by_text: dict[str, list[str]] = {}
    for row in rows.itertuples():
        by_text.setdefault(ratio_text(row), []).append(names[row.unit])
    return "; ".join(f"{text} the {' and '.join(units)}" for text, units in by_text.items())
