"""The verdict on a comparison of two arms, and the number of seeds that would decide it.

A verdict is read off one interval, the simultaneous one of the comparison's family, and off nothing
else. So an interval and the verdict beside it cannot contradict each other, and every table, text
and figure takes its words from here:

* better, worse: the interval excludes 0, on the better or on the worse side of the outcome;
* lower, higher: the same for an outcome of which neither side is better;
* equivalent: the interval lies inside ± the smallest difference of interest;
* undecided: neither, with the number of seeds that would decide it;
* no detectable difference: the arms have one value on every seed, so there is no interval;
* no verdict: fewer than four seeds;
* not estimable: there is no interval, with the reason.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from muonlab.statistics.intervals import check_level

BETTER, WORSE, LOWER, HIGHER = "better", "worse", "lower", "higher"
EQUIVALENT, UNDECIDED = "equivalent", "undecided"
NO_DIFFERENCE = "no detectable difference"
NO_VERDICT, NOT_ESTIMABLE = "no verdict", "not estimable"
DIFFERENT = (BETTER, WORSE, LOWER, HIGHER)
FLIPPED = {BETTER: WORSE, WORSE: BETTER, LOWER: HIGHER, HIGHER: LOWER}

MIN_SEEDS = 4  # fewer give no verdict: with three, one seed's luck decides
POWER = 0.8
MOST_SEEDS = 1_000_000  # more than that are as good as no number
TOO_FEW = "There are fewer than two seeds."
NO_INTERVAL = "There is no interval."


@dataclass(frozen=True)
class Verdict:
    """A verdict on arm a of a difference a − b.

    `needs_n` is the number of seeds that would decide an undecided comparison, infinite beyond
    1,000,000, and NaN for every other word. `reason` says why something is not estimable.
    """

    word: str
    n: int
    needs_n: float = np.nan
    reason: str = ""

    def __str__(self) -> str:
        return in_words(self.word, self.n, self.needs_n)


def verdict(
    difference: float,
    low: float,
    high: float,
    n: int,
    sd: float | None = None,
    *,
    alpha: float,
    smallest: float | None = None,
    better: str = "",
    reason: str = "",
) -> Verdict:
    """The verdict on a difference a − b with its simultaneous interval [low, high].

    `n` is the number of seeds (of the smaller arm if they are not paired). `sd` is the standard
    deviation of the paired difference, √(sd_a² + sd_b²) if runs are not paired; left out, it is
    taken from the width of the interval. `alpha` is the level at which this interval was made: α/m
    in a family of m comparisons. `smallest` is the smallest difference of interest (None or NaN:
    none is declared), `better` the better side of the outcome: "lower", "higher" or "" for neither.
    `reason` says why there is no interval, for the case that there is none.

    A difference shown to be smaller than the smallest difference of interest is equivalent even
    where the interval excludes 0: it may exist, but it does not matter (Lakens 2017, Soc. Psychol.
    Personal. Sci. 8(4), fig. 1). Two one-sided tests at α need only the 1 − 2α interval inside
    ± the smallest difference; the two-sided interval asked for here makes equivalence conservative,
    and it is the interval that is printed.

    ValueError: an `alpha` outside (0, 1), an unknown side, a smallest difference that is not
    positive, limits in the wrong order.
    """
    check_level(alpha)
    smallest = None if smallest is None or np.isnan(smallest) else float(smallest)
    _check(low, high, smallest, better)
    if not n >= 2:
        return Verdict(NOT_ESTIMABLE, n, reason=reason or TOO_FEW)
    if np.isnan(low) or np.isnan(high):
        if difference == 0 and n >= MIN_SEEDS:
            return Verdict(NO_DIFFERENCE, n, reason=reason)
        return Verdict(NOT_ESTIMABLE, n, reason=reason or NO_INTERVAL)
    if n < MIN_SEEDS:
        return Verdict(NO_VERDICT, n)
    if smallest is not None and -smallest < low and high < smallest:
        return Verdict(EQUIVALENT, n)
    if low > 0 or high < 0:
        return Verdict(_side(HIGHER if low > 0 else LOWER, better), n)
    if sd is None or np.isnan(sd):
        sd = (high - low) / 2 * np.sqrt(n) / stats.t.isf(alpha / 2, n - 1)
    return Verdict(UNDECIDED, n, _deciding_n(difference, n, sd, alpha, smallest))


def in_words(word: str, n: int | float, needs_n: float = np.nan) -> str:
    """A verdict as it is printed: "undecided (needs n ≈ 12)", "no verdict (n = 3)", "better" …

    `n` and `needs_n` are as in `Verdict`; two digits of `needs_n` are given, since the standard
    deviation behind it is known no better.
    """
    if word == NO_VERDICT:
        return f"{word} (n = {n:g})"
    if word != UNDECIDED or np.isnan(needs_n):
        return word
    if np.isinf(needs_n):
        return f"{word} (needs n > {MOST_SEEDS:,})"
    return f"{word} (needs n ≈ {rounded_n(needs_n)})"


def rounded_n(n: float) -> str:
    """A number of seeds with two digits, rounded up: "7", "83", "130", "1,300"."""
    scale = 10 ** max(0, int(np.floor(np.log10(n))) - 1)
    return f"{int(np.ceil(round(n / scale, 9))) * scale:,}"


def flipped(word: str) -> str:
    """The verdict on b − a, where `word` is that on a − b."""
    return FLIPPED.get(word, word)


def seeds_needed(
    difference: float, sd: float, alpha: float = 0.05, power: float = POWER
) -> int | float:
    """The smallest n at which a paired two-sided t test at `alpha` sees a true `difference` with
    `power`, but at least four, below which there is no verdict; infinite beyond 1,000,000.

    P(T > t_{1−α/2, n−1}) for the noncentral T with n − 1 degrees of freedom and noncentrality
    |difference|·√n/sd (Cohen 1988, ch. 2); rejections on the wrong side are left out. NaN for a
    standard deviation that is not positive and finite. For arms that are not paired, with
    sd = √(sd_a² + sd_b²), n runs of each arm are at least enough, because Welch's test has n − 1
    degrees of freedom or more.
    """
    check_level(alpha)
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1, not {power}.")
    effect = abs(difference) / sd if np.isfinite(sd) and sd > 0 else np.nan
    if np.isnan(effect):
        return np.nan
    z = stats.norm.isf(alpha / 2)
    # With an infinite number of seeds the variance is known; the second term is Guenther's (1981).
    n = ((z + stats.norm.ppf(power)) / effect) ** 2 + z**2 / 2 if effect > 0 else np.inf
    if n > MOST_SEEDS:
        return np.inf
    n = max(MIN_SEEDS, int(np.ceil(n)))
    while n > MIN_SEEDS and _power(effect, n - 1, alpha) >= power:
        n -= 1
    while _power(effect, n, alpha) < power:
        n += 1
    return n


def _power(effect: float, n: int, alpha: float) -> float:
    critical = stats.t.isf(alpha / 2, n - 1)
    noncentrality = effect * np.sqrt(n)
    if noncentrality > 37 + critical:  # scipy's noncentral t loses its digits there
        return 1.0
    return float(stats.nct.sf(critical, n - 1, noncentrality))


def _deciding_n(
    difference: float, n: int, sd: float, alpha: float, smallest: float | None
) -> float:
    """The number of seeds that would decide an undecided comparison; always more than `n`.

    It gives a power of 80 % to see the smallest difference of interest, or the observed one where
    none is declared. Where n seeds already have that power, the true difference probably lies
    between 0 and the smallest: then it is the number that would show, at the observed difference,
    that it is not 0 or that it is smaller than the smallest, whichever takes fewer.
    """
    observed = abs(difference)
    if smallest is None:
        return seeds_needed(observed, sd, alpha)
    needed = seeds_needed(smallest, sd, alpha)
    if needed > n:
        return needed
    return seeds_needed(max(observed, smallest - observed), sd, alpha)


def _side(side: str, better: str) -> str:
    if not better:
        return side
    return BETTER if side == better else WORSE


def _check(low: float, high: float, smallest: float | None, better: str) -> None:
    if better not in ("", LOWER, HIGHER):
        raise ValueError(f"better must be 'lower', 'higher' or '', not {better!r}.")
    if smallest is not None and not (np.isfinite(smallest) and smallest > 0):
        raise ValueError(f"the smallest difference of interest must be positive, not {smallest}.")
    if low > high:
        raise ValueError(f"the interval's low end {low} lies above its high end {high}.")
