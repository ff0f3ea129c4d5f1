"""Choosing each arm's settings from its trials, and the loss that all arms reach."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from muonlab.io.errors import UserError

OUTERMOST = 0.05  # of a range's width, on its own scale: a choice in it lies on the edge


def select_trials(
    trials: Sequence[dict], tuning: dict, spaces: Mapping[str, Mapping] | None = None
) -> dict:
    """The best trial of each arm, whether it lies on an edge of its space, and the common loss.

    `trials`: one record for each arm, settings and seed, with the run's `final_loss` and
    `best_loss` (null when not finite) and `diverged`. A trial's score is the mean over seeds of
    its final or lowest loss (`tuning.score`); a trial with a diverged seed scores last. The common
    loss is the highest, over arms and tuning seeds, of the lowest loss of the arm's best trial:
    every arm reached it with every tuning seed. The target adds `tuning.loss_tolerance`. `spaces`
    has each arm's search space, as `edges` reads it; without one, an arm's space is the values that
    its trials have. Raises UserError where all trials of an arm diverged.
    """
    arms = {}
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        scored = scored_trials([t for t in trials if t["arm"] == arm], tuning["score"])
        arms[arm] = _best(arm, scored, (spaces or {}).get(arm))
    common = max(chosen["best_minimum"] for chosen in arms.values())
    return {
        "score": tuning["score"],
        "seeds": tuning["seeds"],
        "common_loss": common,
        "target_loss": common + tuning["loss_tolerance"],
        "arms": arms,
        "trials": list(trials),
    }


def edges(settings: dict, space: Mapping) -> dict[str, str]:
    """For each field of numbers: `low` or `high` where the chosen value lies on that edge.

    `space` has for each field a list of values, {values: [...]} or a range {low, high, log}. The
    edges of a list are its smallest and its largest number, where it has two or more; those of a
    range its outermost 5 % (of the logarithm with log). The optimum may then lie outside. 0 is
    no lower edge: nothing that is tuned goes below it.
    """
    found = {field: _side(value, space[field]) for field, value in settings.items()}
    return {field: side for field, side in found.items() if side}


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


def scored_trials(trials: Sequence[dict], score: str) -> list[dict]:
    """One record for each settings of an arm, averaged over seeds, in the order of its trials.

    settings; score, +inf where a seed diverged; best_minimum, the highest over seeds of the
    lowest loss. `trials` and `score` are as in `select_trials`.
    """
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


def _best(arm: str, scored: list[dict], space: Mapping | None) -> dict:
    best = min(scored, key=lambda record: record["score"])
    if not math.isfinite(best["score"]):
        raise UserError(f"tuning: every trial of the arm {arm} diverged; change its tuning.grid")
    if space is None:
        space = {f: [record["settings"][f] for record in scored] for f in best["settings"]}
    return best | {"edges": edges(best["settings"], space)}


def _side(value: object, axis: Mapping | Sequence) -> str | None:
    """The edge of one field's values or range that `value` lies on."""
    if not _is_number(value):
        return None
    if isinstance(axis, Mapping) and "low" in axis:
        scale = math.log if axis.get("log") else float
        low, high = scale(axis["low"]), scale(axis["high"])
        position = (scale(value) - low) / (high - low)
        on_low, on_high = position <= OUTERMOST, position >= 1 - OUTERMOST
        lowest = axis["low"]
    else:
        values = axis["values"] if isinstance(axis, Mapping) else axis
        numbers = {v for v in values if _is_number(v)}
        if len(numbers) < 2:
            return None
        lowest = min(numbers)
        on_low, on_high = value == lowest, value == max(numbers)
    if on_low and lowest != 0:
        return "low"
    return "high" if on_high else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mean(values: list[float | None]) -> float:
    return math.inf if any(v is None for v in values) else fmean(values)
