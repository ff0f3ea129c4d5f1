"""What was measured along the runs, read at equal loss.

Every quantity is matched on the loss of the data that it was measured on: spectra and crossing
times on the evaluated loss, curvature on the batch's, quantization on its split's. The levels are
losses that every run of the compared arms passed, so that no run is left out. Diverged runs do not
count for the levels and have no value at them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from muonlab.statistics.levels import at_losses, common_levels, front, nearest_losses
from muonlab.statistics.speedup import time_to

Key = tuple[str, int]  # arm, seed
POINT = "loss "  # what the names of the points of equal loss begin with


@dataclass(frozen=True)
class Along:
    """Quantities of runs along their losses.

    `runs` has for each run (arm, seed) a table with one row for each moment in the order of
    training, indexed by the step: its `loss`, and one column for each quantity. `diverged` are the
    runs that diverged.
    """

    runs: Mapping[Key, pd.DataFrame]
    diverged: frozenset[Key]

    def levels(self, count: int, arms: Collection[str] | None = None) -> np.ndarray:
        """`count` losses that all runs of `arms` (default: all arms) passed, highest first."""
        return common_levels([own.loss for own in self._counted(arms).values()], count)

    def at(self, levels: np.ndarray, arms: Collection[str] | None = None) -> pd.DataFrame:
        """arm, seed, point (`loss 1` …), level, nearest (the loss of the nearest moment), then the
        quantities at that level. All are NaN for a diverged run."""
        chosen = {key: self._arrays[key] for key in self._of(arms)}
        names = dict.fromkeys(name for own in chosen.values() for name in own if name != "loss")
        columns = {name: [] for name in ("nearest", *names)}
        unknown = np.full(len(levels), np.nan)
        for key, own in chosen.items():
            counts = unknown if key in self.diverged else levels
            columns["nearest"].append(nearest_losses(own["loss"], counts))
            for name in names:
                # A quantity of other runs is not known in this one.
                values = own.get(name)
                found = unknown if values is None else at_losses(own["loss"], values, counts)
                columns[name].append(found)
        at = {name: np.concatenate(parts) for name, parts in columns.items()}
        return pd.DataFrame(self._facts(chosen, levels) | at)

    def steps_to(self, levels: np.ndarray, arms: Collection[str] | None = None) -> pd.DataFrame:
        """arm, seed, point, level, nearest and `step`: the step at which each run first came to
        each level, interpolated between moments. It is infinite for a diverged run."""
        nearest, steps, chosen = [], [], self._of(arms)
        for key, own in chosen.items():
            losses, lost = self._arrays[key]["loss"], key in self.diverged
            nearest.append(nearest_losses(losses, np.full_like(levels, np.nan) if lost else levels))
            taken = time_to(own.index.to_numpy(), np.tile(losses, (len(levels), 1)), levels)
            steps.append(np.where(np.isnan(levels), np.nan, np.inf if lost else taken))
        found = {"nearest": np.concatenate(nearest), "step": np.concatenate(steps)}
        return pd.DataFrame(self._facts(chosen, levels) | found)

    @cached_property
    def _arrays(self) -> dict[Key, dict[str, np.ndarray]]:
        """The columns of each run's table. Reading them from a frame each time takes longer than
        what is computed from them."""
        return {
            key: {name: own[name].to_numpy(dtype=np.float64) for name in own}
            for key, own in self.runs.items()
        }

    @staticmethod
    def _facts(keys: Iterable[Key], levels: np.ndarray) -> dict[str, Any]:
        """The columns point, level, arm and seed, with a row for each level of each run."""
        keys, count = list(keys), len(levels)
        return {
            "point": points(count) * len(keys),
            "level": np.tile(levels, len(keys)),
            "arm": [arm for arm, _ in keys for _ in range(count)],
            "seed": [seed for _, seed in keys for _ in range(count)],
        }

    def over_loss(self, arm: str, quantity: str, count: int = 80) -> pd.DataFrame:
        """seed, loss, value: one quantity of an arm's runs on `count` losses that all of these runs
        passed; empty if there are none."""
        runs = {seed: own for (_, seed), own in self._counted([arm]).items() if quantity in own}
        fronts = [own.loss.to_numpy()[front(own.loss)] for own in runs.values()]
        fronts = [falling for falling in fronts if len(falling)]
        top = min((falling[0] for falling in fronts), default=np.nan)
        bottom = max((falling[-1] for falling in fronts), default=np.nan)
        if not top > bottom:
            return pd.DataFrame({"seed": [], "loss": [], "value": []})
        grid = np.geomspace(top, bottom, count) if bottom > 0 else np.linspace(top, bottom, count)
        grid[-1] = bottom  # exactly, whatever the rounding
        parts = [
            pd.DataFrame(
                {"seed": seed, "loss": grid, "value": at_losses(own.loss, own[quantity], grid)}
            )
            for seed, own in runs.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def ends(self, arm: str, quantity: str) -> pd.DataFrame:
        """seed, loss, value of one quantity at the last moment of each of an arm's runs."""
        rows = [
            {"seed": seed, "loss": own.loss.iloc[-1], "value": own[quantity].iloc[-1]}
            for (_, seed), own in self._counted([arm]).items()
            if quantity in own
        ]
        return pd.DataFrame(rows, columns=["seed", "loss", "value"])

    def _of(self, arms: Collection[str] | None) -> dict[Key, pd.DataFrame]:
        return {key: own for key, own in self.runs.items() if arms is None or key[0] in arms}

    def _counted(self, arms: Collection[str] | None) -> dict[Key, pd.DataFrame]:
        return {key: own for key, own in self._of(arms).items() if key not in self.diverged}


def points(count: int) -> list[str]:
    """The names of `count` points of equal loss, from the highest loss to the lowest."""
    return [f"{POINT}{i + 1}" for i in range(count)]


def diverged_runs(runs: Sequence[dict], summaries: Sequence[dict]) -> frozenset[Key]:
    """(arm, seed) of the runs that diverged; both arguments list the same runs."""
    both = zip(runs, summaries, strict=True)
    return frozenset((run["arm"], run["seed"]) for run, summary in both if summary["diverged"])


def evaluated(metrics: pd.DataFrame, split: str, diverged: frozenset[Key]) -> Along:
    """The evaluated losses of all runs. `metrics`: arm, seed, step, split, metric, value."""
    own = metrics[(metrics.split == split) & (metrics.metric == "loss")]
    losses = {
        key: run.set_index("step")[["value"]].rename(columns={"value": "loss"}).sort_index()
        for key, run in own.groupby(["arm", "seed"], sort=False)
    }
    return Along(losses, diverged)


def along(records: pd.DataFrame, diverged: frozenset[Key]) -> Along:
    """Records of a measurement as quantities along the losses.

    `records`: arm, seed, step, loss, quantity (its name), value. A quantity that has no record at a
    moment is NaN there.
    """
    found = {}
    for key, run in records.groupby(["arm", "seed"], sort=False):
        losses = run.groupby("step").loss.first()
        # A run that diverged at its first evaluation has its start for its end.
        run = run.drop_duplicates(["step", "quantity"])
        values = run.pivot(index="step", columns="quantity", values="value")
        found[key] = pd.concat([losses, values], axis=1).sort_index()
    return Along(found, diverged)


def joined(records: pd.DataFrame, losses: Along) -> pd.DataFrame:
    """Records (arm, seed, step, …) with the evaluated loss at their step, linear between
    evaluations; NaN outside of them."""
    parts = []
    for (arm, seed), own in records.groupby(["arm", "seed"], sort=False):
        curve = losses.runs[arm, seed].loss
        loss = np.interp(own.step, curve.index, curve, left=np.nan, right=np.nan)
        parts.append(own.assign(loss=loss))
    return pd.concat(parts, ignore_index=True)


def with_levels(
    records: pd.DataFrame, keys: Sequence[str], diverged: frozenset[Key], count: int
) -> pd.DataFrame:
    """The records of the start and of the end, and those at `count` levels that all runs passed.

    `records`: arm, seed, point, step, loss, value and `keys`, as measurements write them. The
    column `level` is the loss of a level, and NaN for start and end.
    """
    quantity = records.groupby(list(keys), sort=False, dropna=False).ngroup()
    records = records.assign(quantity=quantity, level=np.nan)
    names = records.drop_duplicates("quantity").set_index("quantity")[list(keys)]
    runs = along(records, diverged)
    wide = runs.at(runs.levels(count)).drop(columns="nearest")
    long = wide.melt(["arm", "seed", "point", "level"], var_name="quantity")
    long = long.join(names, on="quantity")
    columns = ["arm", "seed", "point", "level", *keys, "value"]
    whole = records[records.point.isin(["start", "end"])]
    return pd.concat([whole[columns], long[columns]], ignore_index=True)


def on_common_steps(records: pd.DataFrame, diverged: frozenset[Key]) -> pd.DataFrame:
    """arm, seed, step, value of the runs that did not diverge, at all steps of any run of the same
    arm at which each of its runs has a value beside it: linear between a run's own steps."""
    parts = []
    for arm, rows in records.groupby("arm", sort=False):
        runs = {
            seed: own.drop_duplicates("step").set_index("step").value.sort_index()
            for seed, own in rows.groupby("seed")
            if (arm, seed) not in diverged
        }
        if not runs:
            continue
        first, last = (end(f(run.index) for run in runs.values()) for end, f in _ENDS)
        steps = sorted({step for run in runs.values() for step in run.index})
        steps = [step for step in steps if first <= step <= last]
        for seed, run in runs.items():
            value = np.interp(steps, run.index, run)
            parts.append(pd.DataFrame({"arm": arm, "seed": seed, "step": steps, "value": value}))
    if not parts:
        return pd.DataFrame({"arm": [], "seed": [], "step": [], "value": []})
    return pd.concat(parts, ignore_index=True)


_ENDS = ((max, min), (min, max))  # how the first and last common step follow from those of the runs
