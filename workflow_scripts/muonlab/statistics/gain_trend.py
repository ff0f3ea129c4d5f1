"""Whether the difference of two arms grows with something else that is varied: size, batch, length.

Differences are a − b of a loss, so arm a's lead grows where they fall.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from muonlab.statistics.dose_response import DoseResponse, dose_response
from muonlab.statistics.relation import HOLDS, ONE_ARM, judged, leave_one_out

GROWS, SHRINKS = "grows", "shrinks"
ONE_LEVEL = "rests on one level"


class GainTrend(NamedTuple):
    """The change of a difference per doubling of the dose, with its interval, and the verdict."""

    response: DoseResponse
    verdict: str
    reason: str


def gain_trend(
    doses: ArrayLike, differences: ArrayLike, alpha: float = 0.05, smallest: float | None = None
) -> GainTrend:
    """The trend of `differences` (n seeds, m levels) over log₂ of `doses` (m,).

    Each seed has its own least-squares slope, and the interval is Student's over the seeds. `alpha`
    is the level of this interval, that of a family divided by its size. The verdict is `grows` or
    `shrinks` (the lead of a over b), `flat` (over all doses it changes by less than the `smallest`
    difference of interest), `rests on one level` (without some level, the slope or the rank
    correlation loses its sign), `undecided` or, below four seeds, `not estimable`. ValueError for a
    dose that is not positive, and as in `dose_response`.
    """
    doses = np.asarray(doses, dtype=np.float64)
    if not (np.isfinite(doses) & (doses > 0)).all():
        raise ValueError("doses must be positive numbers.")
    x, differences = np.log2(doses), np.asarray(differences, dtype=np.float64)
    order = np.argsort(x, kind="stable")
    x, differences = x[order], differences[:, order]
    response = dose_response(x, differences, alpha)
    span = float(np.ptp(x))
    word, reason = judged(response, *leave_one_out(x, differences), smallest, span)
    if word == HOLDS:
        word = GROWS if response.slope < 0 else SHRINKS
    elif word == ONE_ARM:
        word, reason = ONE_LEVEL, reason.replace("one arm", "one level")
    return GainTrend(response, word, reason)
