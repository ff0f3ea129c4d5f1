"""The tidy table of runs that this package reads: columns arm, seed, outcome, value.

One row per run and outcome. A diverged run has a value that is not finite (a missing value
counts as such). Use ±inf, on the worse side, to make the rank test rank it last. No function here
knows which direction of an outcome is the better one.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["arm", "seed", "outcome", "value"]


def checked_runs(table: "pd.DataFrame", outcomes: Sequence[str]) -> "pd.DataFrame":
    """The four columns for `outcomes`, values as float64.

    ValueError: a missing column, two values for one run and outcome, a value that is no number,
    an outcome that the table does not have.
    """
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(f"the table of runs lacks the column {missing[0]!r}; it needs {COLUMNS}.")
    check_known("outcome", outcomes, table["outcome"].unique())
    runs = table.loc[table["outcome"].isin(list(outcomes)), COLUMNS].copy()
    repeated = runs[runs.duplicated(COLUMNS[:3])]
    if len(repeated):
        run = ", ".join(f"{name} {repeated[name].iloc[0]}" for name in COLUMNS[:3])
        raise ValueError(f"the table of runs has more than one value for {run}.")
    try:
        runs["value"] = runs["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the column 'value' of the table of runs must be numbers: {error}."
        ) from None
    return runs


def check_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError for the first of `names` that is not among `known`."""
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; the table has {sorted(map(str, known))}.")


def runs_by_arm(runs: "pd.DataFrame", outcome: str) -> dict[str, "pd.Series"]:
    """Values of one outcome per arm, indexed by seed; arms in the table's order."""
    import pandas as pd

    # By arrays, because a study has hundreds of outcomes and a frame for each arm takes its time.
    own = (runs["outcome"] == outcome).to_numpy()
    arms, seeds, values = (runs[name].to_numpy()[own] for name in ("arm", "seed", "value"))
    found = {}
    for arm in dict.fromkeys(arms):
        here = arms == arm
        found[arm] = pd.Series(values[here], pd.Index(seeds[here], name="seed"), name="value")
    return found


def pair_by_seed(
    by_arm: Mapping[str, "pd.Series"], arm_a: str, arm_b: str
) -> tuple[np.ndarray, np.ndarray]:
    """Values of both arms, shape (n,), in one order of seeds; empty when neither has runs.

    ValueError names the seeds that only one of the arms has.
    """
    empty = next(iter(by_arm.values())).iloc[:0]
    a, b = by_arm.get(arm_a, empty), by_arm.get(arm_b, empty)
    alone = sorted(map(str, set(a.index) ^ set(b.index)))
    if alone:
        raise ValueError(
            f"arms {arm_a!r} and {arm_b!r} do not pair by seed (in one of them only: "
            f"{', '.join(alone)}); run both with the same seeds or compare with paired=False."
        )
    return a.to_numpy(), b.reindex(a.index).to_numpy()


def matrix_by_seed(by_arm: Mapping[str, "pd.Series"], arms: Sequence[str]) -> np.ndarray:
    """Values of all `arms`, shape (n, len(arms)), one row per seed in the first arm's order.

    ValueError names the seeds that only some of the arms have.
    """
    columns = [pair_by_seed(by_arm, arms[0], arm)[1] for arm in arms]
    return np.stack(columns, axis=1)
