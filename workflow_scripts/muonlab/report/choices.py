"""Accuracies on benchmarks of multiple choice, from the log-likelihood of every ending."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from muonlab.statistics.intervals import mean_interval
from muonlab.statistics.item_tests import mcnemar, over_items
from muonlab.statistics.paired import paired

SCORES = {"acc": "accuracy", "acc_norm": "accuracy, normalised by bytes"}
RUN = ["arm", "seed", "task"]


def correct(records: pd.DataFrame) -> pd.DataFrame:
    """arm, seed, task, item, endings, cut, acc and acc_norm (whether the item is right; NaN for a
    diverged run).

    acc takes the ending of the largest log-likelihood, acc_norm that of the largest one per byte of
    the ending, as in the lm-evaluation-harness; of equal ones, the first.
    """
    rows = records.assign(acc_norm=records.log_likelihood / records.bytes)
    rows = rows.rename(columns={"log_likelihood": "acc"})
    groups = rows.sort_values("ending", kind="stable").groupby([*RUN, "item"], sort=False)
    found = groups.agg(endings=("ending", "size"), cut=("cut", "any"), gold=("gold", "first"))
    for score in SCORES:
        known = groups[score].apply(lambda values: np.isfinite(values).all())
        best = groups[score].apply(lambda values: int(np.argmax(values.to_numpy())))
        found[score] = (best == found.gold).astype(float).where(known)
    return found.drop(columns="gold").reset_index()


def accuracy_table(items: pd.DataFrame, study: dict, resamples: int) -> pd.DataFrame:
    """One row for each arm, task and score: mean over seeds with its t interval, and the bootstrap
    interval over items of the mean over seeds."""
    rows = []
    for (arm, task), own in items.groupby(["arm", "task"], sort=False):
        for score in SCORES:
            grid = own.pivot(index="item", columns="seed", values=score)
            mean = mean_interval(grid.mean(skipna=False).to_numpy(), study["alpha"])
            low, high = over_items(grid.mean(axis=1, skipna=False), study["alpha"], resamples)
            rows.append(
                {"task": task, "score": score, "label": SCORES[score], "arm": arm}
                | {"n": mean.n, "items": len(grid), "chance": (1 / own.endings).mean()}
                | {"mean": grid.to_numpy().mean(), "low": mean.low, "high": mean.high}
                | {"item_low": low, "item_high": high, "cut": own.cut.mean()}
            )
    return pd.DataFrame(rows)


def contrast_table(
    items: pd.DataFrame, pairs: Sequence[Mapping], study: dict, resamples: int
) -> pd.DataFrame:
    """One row for each task, score and pair of arms: the difference of accuracies a − b, with a
    paired t interval over seeds and a bootstrap interval over items, and McNemar's test of each
    seed's two models. The intervals over seeds of all pairs of a task and score are one family."""
    by_arm = dict(list(items.groupby(["task", "arm"], sort=False)))
    tasks = list(dict.fromkeys(items.task))
    rows = [
        row
        for task in tasks
        for score in SCORES
        for pair in pairs
        for row in _contrast(by_arm, task, score, pair, study, resamples, len(pairs))
    ]
    return pd.DataFrame(rows)


def _contrast(
    by_arm: Mapping, task: str, score: str, pair: Mapping, study: dict, resamples: int, family: int
) -> Iterator[dict]:
    a, b = (
        by_arm[task, pair[side]].pivot(index="item", columns="seed", values=score) for side in "ab"
    )
    means = (side.mean(skipna=False) for side in (a, b))
    found = paired(*means, study["alpha"], family, better="higher")
    low, high = over_items((a - b).mean(axis=1, skipna=False), study["alpha"], resamples)
    tests = [mcnemar(a[seed], b[seed]) for seed in a] if np.isfinite(found.difference) else []
    yield (
        {"task": task, "score": score, "arm_a": pair["a"], "arm_b": pair["b"], "n": found.n}
        | {"items": len(a), "family_size": family}
        | found.columns("difference")
        | {"item_low": low, "item_high": high}
        | {"only_a": sum(t.only_a for t in tests), "only_b": sum(t.only_b for t in tests)}
        | {"p_mcnemar": ", ".join(f"{test.p:.3g}" for test in tests)}
    )
