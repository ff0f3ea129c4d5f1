"""Families of comparisons: how many of them share the significance level with each one.

A claim is one family, declared in the config before anything is run. Its m comparisons are each
made at α/m (Bonferroni), so that all of its intervals hold together with the level 1 − α and none
of its verdicts is wrong with a probability of more than α. Šidák's 1 − (1 − α)^(1/m) would gain
less than 3 % of the level at α = .05, and its inequality is proven for t statistics with one common
variance, which paired differences with unequal variances are not; Bonferroni needs no such thing.

Comparisons that no declared family has are exploratory: all of them on one outcome are one family.
How many comparisons a family has follows from the config and not from the results, so a run that
diverges makes no other comparison easier.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

EXPLORATORY = "exploratory"

Comparison = tuple[str, str, str]  # outcome, and the arms a and b in either order


@dataclass(frozen=True)
class Family:
    """The family of a comparison, and how many comparisons it has."""

    name: str
    size: int

    def level(self, alpha: float) -> float:
        """The level at which each comparison is made."""
        return alpha / self.size


class Families:
    """Finds the family of each comparison.

    `declared` lists the declared families, each with a name, outcomes, pairs and size (the number
    of its comparisons; by default outcomes × pairs). `comparisons` are all that are made: those in
    no declared family are exploratory. ValueError for a comparison in two declared families.
    """

    def __init__(self, declared: Sequence[Mapping], comparisons: Iterable[Comparison]):
        self._of: dict[tuple[str, frozenset[str]], Family] = {}
        for one in declared:
            keys = [(outcome, frozenset(p)) for outcome in one["outcomes"] for p in one["pairs"]]
            family = Family(one["name"], one.get("size", len(keys)))
            for key in keys:
                if key in self._of:
                    raise ValueError(
                        f"{' and '.join(sorted(key[1]))} on {key[0]} are in the families "
                        f"{self._of[key].name} and {family.name}; a comparison has one family."
                    )
                self._of[key] = family
        self._others = {key for key in map(_key, comparisons) if key not in self._of}
        self._sizes = Counter(outcome for outcome, _ in self._others)

    def of(self, outcome: str, a: str, b: str) -> Family:
        """The family of the comparison of the arms a and b, in either order, on an outcome.

        ValueError for one that is not among the comparisons that are made, since a family's size
        has to be known before anything is compared.
        """
        key = _key((outcome, a, b))
        if key in self._of:
            return self._of[key]
        if key not in self._others:
            raise ValueError(f"{a} and {b} on {outcome} are not among the comparisons made.")
        return Family(EXPLORATORY, self._sizes[outcome])


def _key(comparison: Comparison) -> tuple[str, frozenset[str]]:
    outcome, a, b = comparison
    return outcome, frozenset((a, b))
