"""The best of a few settings, without the luck of the best: each seed is read at the setting that
the other seeds choose."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Bracketed(NamedTuple):
    """`values` (n,): each seed's loss at the setting with the lowest mean loss over the others.

    `best` is the place of the setting with the lowest mean over all seeds; None where every setting
    has a diverged run.
    """

    values: np.ndarray
    best: int | None


def cross_fitted(losses: ArrayLike) -> Bracketed:
    """Reads `losses` (n seeds, k settings) at settings that were chosen without the seed.

    The minimum over settings of one sample's mean is too low on average, by more the more settings
    there are (the winner's curse). Leaving out the seed that is read removes that bias, as
    cross-validation does (Stone 1974, J. R. Stat. Soc. B 36(2)). A loss that is not finite counts
    as infinite where settings are chosen. With one seed, nothing is left to choose by, so its value
    is NaN unless there is one setting. ValueError unless `losses` is a matrix with a column.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or not losses.shape[1]:
        raise ValueError(f"losses must be (seeds, settings), not of shape {losses.shape}.")
    ranked = np.where(np.isfinite(losses), losses, np.inf)
    best = _lowest(ranked) if len(losses) else None
    if losses.shape[1] == 1:
        return Bracketed(losses[:, 0], best)
    values = np.full(len(losses), np.nan)
    for seed in range(len(losses)):
        others = np.delete(ranked, seed, axis=0)
        chosen = _lowest(others) if len(others) else None
        if chosen is not None:
            values[seed] = losses[seed, chosen]
    return Bracketed(values, best)


def _lowest(losses: np.ndarray) -> int | None:
    means = losses.mean(axis=0)
    return int(np.argmin(means)) if np.isfinite(means).any() else None
