"""The metrics that a run records while it trains, in long form, and their summary."""

import json
import math

COLUMNS = ("step", "split", "metric", "value")
WHOLE = "whole"  # the evaluation split in full, evaluated after the last update


class Metrics:
    """Rows (step, split, metric, value); `step` counts the updates made before the record."""

    def __init__(self, rows: list[tuple[int, str, str, float]] | None = None):
        self.rows = rows or []

    def add(self, step: int, split: str, **values: float) -> None:
        self.rows += [(step, split, metric, float(value)) for metric, value in values.items()]

    def series(self, split: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of one metric on one split, in the order of recording."""
        return [(s, v) for s, sp, m, v in self.rows if sp == split and m == metric]

    def last(self, split: str) -> dict[str, float]:
        """The metrics of the last evaluation of a split."""
        step = self.last_step(split)
        return {m: v for s, sp, m, v in self.rows if s == step and sp == split}

    def last_step(self, split: str) -> int | None:
        """The step of the last row of a split; None where it has none."""
        return next((s for s, sp, *_ in reversed(self.rows) if sp == split), None)

    def to_json(self) -> str:
        """The rows for a checkpoint. Python's JSON keeps floats exactly, NaN and infinities too."""
        return json.dumps(self.rows)

    @classmethod
    def from_json(cls, text: str) -> "Metrics":
        return cls([tuple(row) for row in json.loads(text)])


def summarise(config: dict, metrics: Metrics, steps: int, stopped_at: int | None) -> dict:
    """The run in one record; values that are not finite are null.

    `diverged` is true if the loss stopped being finite (`stopped_at`) or if it ended above the loss
    that the run began with. The final loss and accuracy are those of the whole evaluation split;
    the initial and the lowest loss are those of the evaluations along the run, which may read a
    part of it.
    """
    split = config["training"]["evaluate_on"]
    losses = metrics.series(split, "loss")
    initial, final = losses[0][1], _last(metrics, WHOLE, "loss")
    diverged = stopped_at is not None or not math.isfinite(final) or final > initial
    finite = [(value, step) for step, value in losses if math.isfinite(value)]
    best, best_step = min(finite) if finite else (math.nan, None)
    summary = {
        "seed": config["seed"],
        "steps": steps,
        "evaluated_on": split,
        "initial_loss": initial,
        "final_loss": math.nan if stopped_at is not None else final,
        "final_accuracy": _last(metrics, WHOLE, "accuracy") if stopped_at is None else math.nan,
        "best_loss": best,
        "best_step": best_step,
        "final_train_loss": _last(metrics, "train", "loss"),
        "diverged": diverged,
        "diverged_at": stopped_at,
        "test_loss": _last(metrics, "report", "loss"),
        "test_accuracy": _last(metrics, "report", "accuracy"),
    }
    return {key: _finite(value) for key, value in summary.items()}


def _last(metrics: Metrics, split: str, metric: str) -> float:
    series = metrics.series(split, metric)
    return series[-1][1] if series else math.nan


def _finite(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value
