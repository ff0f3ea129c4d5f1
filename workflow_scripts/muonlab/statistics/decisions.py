"""What measurements say of a claim: by a rule that is fixed before anything is run.

A claim is tested by one or more comparisons, each of which gives one answer:

* holds: the interval lies on the side, or in the range, that the claim expects;
* does not hold: the comparison is decided, and not as the claim expects;
* no detectable difference: the arms have one value on every seed;
* undecided: the interval leaves it open, with the number of seeds that would decide it;
* no verdict: fewer than four seeds;
* not estimable: there is no interval, one run for example;
* not run: the study or its table does not exist.

The answers are read off the interval and the verdict that the study's table prints, so a claim
never contradicts the comparison that it rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muonlab.statistics.verdicts import (
    DIFFERENT,
    EQUIVALENT,
    MIN_SEEDS,
    MOST_SEEDS,
    NO_DIFFERENCE,
    NO_VERDICT,
    NOT_ESTIMABLE,
    UNDECIDED,
    in_words,
)

HOLDS, FAILS, NOT_RUN = "holds", "does not hold", "not run"
DEPENDS = "depends on the study"
# What a claim can expect of a difference, or of a ratio's logarithm.
LOWER, HIGHER, NOT_HIGHER = "lower", "higher", "not higher"
EXPECTED = (LOWER, HIGHER, NOT_HIGHER)
# Words with which tables call a difference shown; a basin is wider or narrower.
SHOWN = (*DIFFERENT, "wider", "narrower")


@dataclass(frozen=True)
class Answer:
    """What one comparison, or all comparisons of a claim, say of the claim.

    `n` is the number of seeds; `needs_n` the number that would decide an undecided claim, NaN where
    it is not known or nothing is undecided.
    """

    word: str
    n: float = np.nan
    needs_n: float = np.nan

    def __str__(self) -> str:
        return in_words(self.word, self.n, self.needs_n)


def of_verdict(word: str, value: float, n: float, expected: str, needs_n: float = np.nan) -> Answer:
    """The answer of a difference a − b whose verdict is `word`, one of `statistics.verdicts` or
    "wider" or "narrower". Its side is that of `value`.

    `expected` is LOWER, HIGHER (a lies below or above b) or NOT_HIGHER (a does as well as b: it
    lies below it or is equivalent). ValueError for another expectation.
    """
    if expected not in EXPECTED:
        raise ValueError(f"expected must be one of {', '.join(EXPECTED)}, not {expected!r}.")
    if word in SHOWN:
        right = value > 0 if expected == HIGHER else value < 0
        return Answer(HOLDS if right else FAILS, n)
    if word == EQUIVALENT:
        return Answer(HOLDS if expected == NOT_HIGHER else FAILS, n)
    return Answer(word, n, needs_n if word == UNDECIDED else np.nan)


def in_range(
    value: float, low: float, high: float, n: float, lowest: float, highest: float
) -> Answer:
    """The answer of a value with the interval [low, high] to a claim that it lies in
    [lowest, highest]: the whole interval inside holds, the whole outside does not.

    An undecided one needs n · (w/d)² seeds, since intervals shrink as 1/√n: w is the half width of
    the interval that reaches towards the nearest limit, d the distance of the value from it. The
    number is not known where the value or an end of the interval is infinite.
    """
    if n < 2 or np.isnan(low) or np.isnan(high) or np.isnan(value):
        return Answer(NOT_ESTIMABLE, n)
    if n < MIN_SEEDS:
        return Answer(NO_VERDICT, n)
    if lowest <= low and high <= highest:
        return Answer(HOLDS, n)
    if high < lowest or low > highest:
        return Answer(FAILS, n)
    if not np.isfinite([value, low, high]).all():
        return Answer(UNDECIDED, n)
    limits = [limit for limit in (lowest, highest) if np.isfinite(limit)]
    nearest = min(limits, key=lambda limit: abs(limit - value))
    reach = (high - value) if nearest > value else (value - low)
    distance = abs(nearest - value)
    needed = n * (reach / distance) ** 2 if distance > 0 else np.inf
    if needed > MOST_SEEDS:
        return Answer(UNDECIDED, n, np.inf)
    return Answer(UNDECIDED, n, float(max(n + 1, np.ceil(needed - 1e-9))))


def all_of(answers: Sequence[Answer]) -> Answer:
    """The answer of a claim that holds only if every one of its comparisons holds.

    One comparison that does not hold refutes it. Of the others the least that is known counts: not
    estimable, then no verdict, undecided (with the largest number of seeds), no detectable
    difference. Comparisons that were not run leave the claim to the others.
    """
    found = [answer for answer in answers if answer.word != NOT_RUN]
    if not found:
        return Answer(NOT_RUN)
    for word in (FAILS, NOT_ESTIMABLE, NO_VERDICT, UNDECIDED, NO_DIFFERENCE):
        own = [answer for answer in found if answer.word == word]
        if own:
            needs = [answer.needs_n for answer in own if not np.isnan(answer.needs_n)]
            return Answer(word, min(a.n for a in own), max(needs, default=np.nan))
    return Answer(HOLDS, min(answer.n for answer in found))


def over_studies(answers: Sequence[Answer]) -> Answer:
    """The answer over several studies of one claim: the one that they share, or, where it holds in
    one and does not in another, "depends on the study"."""
    words = {answer.word for answer in answers}
    if {HOLDS, FAILS} <= words:
        return Answer(DEPENDS)
    return all_of(answers)
