"""The difference of two arms over paired seeds, with its interval and verdict.

The tables of anchor checks, of the waterfall, of convergence and of the early phase compare arms
here. Verdicts are those of `verdicts`: nothing here decides what an interval shows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.hypothesis_tests import paired_t
from muonlab.statistics.verdicts import verdict

NOT_FINITE = "A value is not finite."
NO_SPREAD = "The difference is the same on every seed."


@dataclass(frozen=True)
class Paired:
    """The mean of a − b over n paired seeds with its interval, in the values' unit.

    `verdict` is a word of `verdicts`, and `said` the verdict as it is printed, with the number of
    seeds that would decide it or the reason why nothing can be estimated. A single seed has a
    difference without an interval.
    """

    n: int
    difference: float
    low: float
    high: float
    verdict: str
    said: str

    def columns(self, name: str) -> dict[str, float | str]:
        """The cells of a table's row: `name` and `name`_low, _high, _verdict, _said."""
        return {
            name: self.difference,
            f"{name}_low": self.low,
            f"{name}_high": self.high,
            f"{name}_verdict": self.verdict,
            f"{name}_said": self.said,
        }


def paired(
    a: ArrayLike,
    b: ArrayLike,
    alpha: float = 0.05,
    family: int = 1,
    smallest: float | None = None,
    better: str = "",
) -> Paired:
    """a − b for samples (n,) that are paired by position, as one of `family` comparisons.

    The interval has the level 1 − α/family, so that those of the whole family hold together with
    the level 1 − α. `smallest` and `better` are the smallest difference of interest and the better
    side, as in `verdicts.verdict`. A value that is not finite makes the difference not estimable.
    ValueError for unequal lengths.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    level = alpha / family
    test = paired_t(a, b, level)
    n, finite = len(a), bool(np.isfinite([a, b]).all())
    difference = float(np.mean(a - b)) if n and finite else np.nan
    reason = (NO_SPREAD if n >= 2 else "") if finite else NOT_FINITE
    found = verdict(
        difference, test.low, test.high, n,
        alpha=level, smallest=smallest, better=better, reason=reason,
    )  # fmt: skip
    said = f"{found.word}: {found.reason}" if found.reason else str(found)
    return Paired(n, difference, test.low, test.high, found.word, said)
