"""How a quantity of the layers changes with depth and over training: one fit for each run.

The model of a run's values y (a logarithm, here) of L layers at T moments is

    y = level + depth·(d − ½) + growth·τ + stretching·(d − ½)·τ

with d = layer/(L − 1) from 0 (first layer) to 1 (last) and τ from 0 (start) to 1 (end of training).
`growth` is the change over training at half depth, `stretching` the change over training of the
slope over depth, both in the unit of y; depth + stretching is that slope at the end. Each run gives
one value of each, so that intervals over seeds need no assumption about how the values of one run
depend on each other: the layers and moments of a run are not independent samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class DepthFit:
    """The coefficients of one run, NaN where they are not estimable, and the share of the variance
    of y that the fit explains (NaN where y does not vary)."""

    depth: float
    growth: float
    stretching: float
    explained: float


NOTHING = DepthFit(np.nan, np.nan, np.nan, np.nan)


def depth_fit(layers: ArrayLike, times: ArrayLike, values: ArrayLike) -> DepthFit:
    """Least squares over the values (n,) of layers (n,) at times (n,), in any unit of time.

    d and τ run over the range of the given layers and times. Not estimable with fewer than two
    layers or two times, with a value that is not finite, or where the places are too few to tell
    the coefficients apart.
    """
    layers, times, values = (np.asarray(x, dtype=float) for x in (layers, times, values))
    if not (len(values) and np.isfinite(values).all() and np.ptp(layers) and np.ptp(times)):
        return NOTHING
    d = (layers - layers.min()) / np.ptp(layers) - 0.5
    tau = (times - times.min()) / np.ptp(times)
    design = np.stack([np.ones_like(d), d, tau, d * tau], axis=1)
    found, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    if rank < design.shape[1]:
        return NOTHING
    spread = np.square(values - values.mean()).sum()
    left = np.square(values - design @ found).sum()
    explained = 1 - left / spread if spread > 0 else np.nan
    return DepthFit(*map(float, found[1:]), float(explained))
