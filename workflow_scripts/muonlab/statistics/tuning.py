"""Choosing each arm's settings from its trials, and the loss that all arms reach."""

import math
from collections.abc import Sequence
from statistics import fmean

from muonlab.io.errors import UserError


def select_trials(trials: Sequence[dict], tuning: dict) -> dict:
    """The best trial of each arm, whether it lies on an edge of the grid, and the common loss.

    `trials`: one record for each arm, settings and seed, with the run's `final_loss` and
    `best_loss` (null when not finite) and `diverged`. A trial's score is the mean over seeds of
    its final or lowest loss (`tuning.score`); a trial with a diverged seed scores last. The common
    loss is the highest, over arms and tuning seeds, of the lowest loss of the arm's best trial:
    every arm reached it with every tuning seed. The target adds `tuning.loss_tolerance`. Raises
    UserError where all trials of an arm diverged.
    """
    arms = {}
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        arms[arm] = _best(arm, _scored([t for t in trials if t["arm"] == arm], tuning["score"]))
    common = max(chosen["best_minimum"] for chosen in arms.values())
    return {
        "score": tuning["score"],
        "seeds": tuning["seeds"],
        "common_loss": common,
        "target_loss": common + tuning["loss_tolerance"],
        "arms": arms,
        "trials": list(trials),
    }


def edges(settings: dict, grid: dict[str, list]) -> dict[str, str]:
    """For each numeric field with two or more values: `low` or `high` where the chosen value is the
    grid's smallest or largest. The optimum may then lie outside."""
    found = {}
    for field, value in settings.items():
        values = sorted(set(grid[field]), key=lambda v: (isinstance(v, str), v))
        if len(values) < 2 or isinstance(value, str | bool):
            continue
        if value == values[0]:
            found[field] = "low"
        elif value == values[-1]:
            found[field] = "high"
    return found


def first_at_or_under(
    losses: Sequence[tuple[int, float]], target: float
) -> tuple[int, float, bool]:
    """(step, loss, reached) of the first (step, loss) whose loss is at or under `target`.

    Where none is, that of the lowest finite loss, with reached False; a series without a finite
    loss gives its first step with NaN.
    """
    for step, loss in losses:
        if loss <= target:
            return step, loss, True
    finite = [(loss, step) for step, loss in losses if math.isfinite(loss)]
    if not finite:
        return losses[0][0], math.nan, False
    loss, step = min(finite)
    return step, loss, False


def _scored(trials: list[dict], score: str) -> list[dict]:
    """One record for each settings, averaged over seeds, in the order of the grid."""
    groups: dict[tuple, list[dict]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial["settings"].items()), []).append(trial)
    return [
        {
            "settings": dict(settings),
            "score": _mean([t[f"{'final' if score == 'final' else 'best'}_loss"] for t in group])
            if not any(t["diverged"] for t in group)
            else math.inf,
            "best_minimum": max(
                math.inf if t["best_loss"] is None else t["best_loss"] for t in group
            ),
        }
        for settings, group in groups.items()
    ]


def _best(arm: str, scored: list[dict]) -> dict:
    best = min(scored, key=lambda record: record["score"])
    if not math.isfinite(best["score"]):
        raise UserError(f"tuning: every trial of the arm {arm} diverged; change its tuning.grid")
    grid = {f: [record["settings"][f] for record in scored] for f in best["settings"]}
    return best | {"edges": edges(best["settings"], grid)}


def _mean(values: list[float | None]) -> float:
    return math.inf if any(v is None for v in values) else fmean(values)
