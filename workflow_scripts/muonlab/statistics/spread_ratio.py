"""Whether one arm varies less from seed to seed than another: the ratio of two deviations.

Pitman (1939) and Morgan (1939), Biometrika 31: for pairs (a, b) of a bivariate normal distribution
with sample variances s²_a, s²_b and correlation r, the variance ratio ω = σ²_a/σ²_b has the limits
w·(K ± √(K² − 1)), w = s²_a/s²_b, K = 1 + 2(1 − r²)·t²/(n − 2), with the quantile t of Student's
distribution at n − 2 degrees of freedom. Without pairs w/ω has Fisher's F distribution. Both rest
on normality more than a comparison of means does; a handful of seeds can show only large ratios.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from muonlab.statistics.intervals import as_sample, check_level, is_constant
from muonlab.statistics.verdicts import Verdict, verdict

NOT_FINITE, NO_SPREAD = "A value is not finite.", "All runs of an arm have the same value."
TOO_FEW = "A ratio of paired deviations needs three seeds."


@dataclass(frozen=True)
class SpreadRatio:
    """ln(s_a/s_b) with its interval, and the verdict on arm a: lower is less spread."""

    n: int
    sd_a: float
    sd_b: float
    log_ratio: float
    low: float
    high: float
    verdict: Verdict


def spread_ratio(
    a: ArrayLike, b: ArrayLike, alpha: float = 0.05, family: int = 1, paired: bool = True
) -> SpreadRatio:
    """The logarithm of the ratio of standard deviations of samples a (n,) and b (m,).

    The interval has the level 1 − α/family. Paired samples are paired by position. Without an
    interval (a value that is not finite, no spread, fewer than three pairs or two values) the
    verdict says why. ValueError for paired samples of unequal lengths.
    """
    check_level(alpha)
    a, b, level = as_sample(a, "a"), as_sample(b, "b"), alpha / family
    if paired and len(a) != len(b):
        raise ValueError(f"paired samples must be equally long, not {len(a)} and {len(b)}.")
    n = min(len(a), len(b))
    finite = bool(np.isfinite(a).all() and np.isfinite(b).all())
    sds = [float(np.std(x, ddof=1)) if finite and len(x) > 1 else np.nan for x in (a, b)]
    reason = _reason(a, b, finite, paired)
    if reason:
        nothing = verdict(np.nan, np.nan, np.nan, n, alpha=level, better="lower", reason=reason)
        return SpreadRatio(n, *sds, np.nan, np.nan, np.nan, nothing)
    ratio = float(np.log(sds[0] / sds[1]))
    r = float(np.corrcoef(a, b)[0, 1]) if paired else 0.0
    low, high = _paired(ratio, r, n, level) if paired else _unpaired(ratio, len(a), len(b), level)
    # Each run's share of the large-sample variance (1 − r²)/n of the logarithm.
    unit = float(np.sqrt(max(1 - r**2, 1e-12)))
    found = verdict(ratio, low, high, n, unit, alpha=level, better="lower")
    return SpreadRatio(n, *sds, ratio, low, high, found)


def _reason(a: np.ndarray, b: np.ndarray, finite: bool, paired: bool) -> str:
    """Why there is no interval, "" if there is one."""
    if not finite:
        return NOT_FINITE
    if paired and len(a) < 3:
        return TOO_FEW
    if min(len(a), len(b)) >= 2 and (is_constant(a) or is_constant(b)):
        return NO_SPREAD
    return ""


def _paired(ratio: float, r: float, n: int, alpha: float) -> tuple[float, float]:
    t = stats.t.isf(alpha / 2, n - 2)
    # ln(K ± √(K² − 1)) = ± arcosh K, and the logarithm of deviations is half that of variances.
    half = 0.5 * float(np.arccosh(1 + 2 * (1 - r**2) * t**2 / (n - 2)))
    return ratio - half, ratio + half


def _unpaired(ratio: float, n: int, m: int, alpha: float) -> tuple[float, float]:
    upper, lower = stats.f.isf([alpha / 2, 1 - alpha / 2], n - 1, m - 1)
    return ratio - 0.5 * float(np.log(upper)), ratio - 0.5 * float(np.log(lower))
