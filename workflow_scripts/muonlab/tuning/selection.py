"""Chooses each arm's settings from its trials."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from muonlab.io.errors import UserError
from muonlab.tuning.space import Scale, is_number

# A value in the outermost 5 % of a range (on its own scale) counts as lying on the edge.
OUTERMOST = 0.05


def select_trials(
    trials: Sequence[dict], tuning: dict, spaces: Mapping[str, Mapping] | None = None
) -> dict:
    """The best trial of each arm, and whether it lies on an edge of its space.

    `trials` has one record for each arm, settings and seed, with the run's `final_loss` and
    `best_loss` (null if not finite) and `diverged`. The score of a trial is the mean over seeds of
    its final or lowest loss (`tuning.score`); a trial with a diverged seed ranks last. `spaces` has
    each arm's search space in the form that `edges` reads; without it, an arm's space consists of
    the values that its trials have. Raises UserError if all trials of an arm diverged.
    """
    arms = {}
    for arm in dict.fromkeys(trial["arm"] for trial in trials):
        scored = scored_trials([t for t in trials if t["arm"] == arm], tuning["score"])
        arms[arm] = _best(arm, scored, (spaces or {}).get(arm))
    return {
        "score": tuning["score"],
        "seeds": tuning["seeds"],
        "arms": arms,
        "trials": list(trials),
    }


def edges(settings: dict, space: Mapping) -> dict[str, str]:
    """`low` or `high` for each numeric field whose chosen value lies on that edge of the space.

    The optimum may then lie outside the space. `space` gives each field a list of values,
    {values: [...]} or a range {low, high, log, from_one}. The edges of a list are its smallest and
    largest numbers, if it has at least two; those of a range are its outermost 5 % on its scale. 0
    does not count as a lower edge, since no tuned setting can be negative.
    """
    found = {field: _side(value, space[field]) for field, value in settings.items()}
    return {field: side for field, side in found.items() if side}


def scored_trials(trials: Sequence[dict], score: str) -> list[dict]:
    """One record for each trial of an arm, averaged over seeds, in the order of the trials.

    A record has `settings`, `score` (+inf if a seed diverged) and `losses` (by seed). `trials` and
    `score` are as in `select_trials`.
    """
    groups: dict[tuple, list[dict]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial["settings"].items()), []).append(trial)
    found = []
    for settings, group in groups.items():
        losses = [trial[loss_column(score)] for trial in group]
        lost = any(trial["diverged"] for trial in group)
        mean = math.inf if lost else _mean(losses)
        found.append({"settings": dict(settings), "score": mean, "losses": losses})
    return found


def loss_column(score: str) -> str:
    """The loss by which tuning chooses, as the runs' summaries call it."""
    return "final_loss" if score == "final" else "best_loss"


def _best(arm: str, scored: list[dict], space: Mapping | None) -> dict:
    ordered = sorted(scored, key=lambda record: record["score"])
    best = ordered[0]
    if not math.isfinite(best["score"]):
        raise UserError(f"tuning: every trial of the arm {arm} diverged; give it lower rates")
    if space is None:
        space = {f: [record["settings"][f] for record in scored] for f in best["settings"]}
    found = {key: best[key] for key in ("settings", "score")}
    return found | {
        "edges": edges(best["settings"], space),
        "trials": len(scored),
        "runner_up": _runner_up(best, ordered[1]) if len(ordered) > 1 else None,
    }


def _runner_up(best: dict, second: dict) -> dict:
    """The second-best trial, and its losses minus the best one's, seed by seed, from which one sees
    whether the two can be told apart."""
    pairs = zip(second["losses"], best["losses"], strict=True)
    behind = [None if b is None or a is None else b - a for b, a in pairs]
    return {"settings": second["settings"], "score": second["score"], "behind": behind}


def _side(value: object, axis: Mapping | Sequence) -> str | None:
    """The edge, `low` or `high`, of one field's values or range that `value` lies on, or None."""
    if not is_number(value):
        return None
    if isinstance(axis, Mapping) and "low" in axis:
        scale = Scale(axis.get("log", False), axis.get("from_one", False))
        low, high = scale.to(axis["low"]), scale.to(axis["high"])
        position = (scale.to(value) - low) / (high - low)
        on_low, on_high = position <= OUTERMOST, position >= 1 - OUTERMOST
        lowest = axis["low"]
    else:
        values = axis["values"] if isinstance(axis, Mapping) else axis
        numbers = {v for v in values if is_number(v)}
        if len(numbers) < 2:
            return None
        lowest = min(numbers)
        on_low, on_high = value == lowest, value == max(numbers)
    if on_low and lowest != 0:
        return "low"
    return "high" if on_high else None


def _mean(values: list[float | None]) -> float:
    return math.inf if any(v is None for v in values) else fmean(values)
