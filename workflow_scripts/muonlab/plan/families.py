"""Families of comparisons: those that answer one claim together and share its error rate."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Annotated

from pydantic import Field, model_validator

from muonlab.section import Name, Section

EXPLORATORY = "exploratory"
LOSS = "final_loss"
# What each factorial asks of the final loss, by the roles of two arms. Its fourth question, the
# synergy, is about all four arms, so that it is no comparison of a pair.
FACTORIAL_PAIRS = (
    ("without_first", "both"),
    ("without_second", "both"),
    ("without_first", "without_second"),
)
FACTORIAL_QUESTIONS = 4

Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]
Comparison = tuple[str, frozenset[str]]  # an outcome, and the two arms


class Family(Section):
    """Comparisons that answer one claim together. They share the significance level, so the family
    as a whole is wrong no more often than alpha says."""

    claim: str = ""
    """The claim, as a sentence."""
    outcomes: list[str] = Field(min_length=1)
    """The outcomes that are compared: names, or patterns in which * stands for any text and [84]
    for one of these characters. Outcomes that the study does not measure are left out."""
    pairs: list[Pair] = Field(default=[])
    """Pairs of arms that are compared on each of the outcomes. Which arm of a pair comes first does
    not matter. A pair is left out if the config has removed one of its arms."""
    arms: list[Name] = Field(default=[])
    """Arms that are each compared with the arm `against`, beside or in place of `pairs`."""
    against: Name | None = None
    """The arm that `arms` are compared with."""

    @model_validator(mode="after")
    def _consistent(self) -> "Family":
        if bool(self.arms) != bool(self.against):
            raise ValueError("arms and against must be given together")
        named = pairs_of(self.model_dump())
        if not named:
            raise ValueError("a family needs pairs, or arms and against")
        for a, b in named:
            if a == b:
                raise ValueError(f"{a} cannot be compared with itself")
            if [{*pair} for pair in named].count({a, b}) > 1:
                raise ValueError(f"{a} and {b} must not be named twice")
        return self


def pairs_of(family: Mapping) -> list[tuple[str, str]]:
    """The pairs of arms that a declared family compares."""
    return [tuple(pair) for pair in family["pairs"]] + [
        (arm, family["against"]) for arm in family["arms"]
    ]


def matching(patterns: Sequence[str], names: Collection[str]) -> list[str]:
    """The names that match at least one of the patterns, in their own order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def check_families(
    families: Mapping[str, Mapping], factorials: Sequence[Mapping], names: Collection[str]
) -> None:
    """Raises ValueError for a family of a reserved name, for an outcome that is none of `names`,
    and for a comparison that is in two families.

    `names` are the outcomes of every measurement that there is, whether the study makes it or not.
    """
    for name, family in families.items():
        if name == EXPLORATORY:
            raise ValueError(
                f"contrasts.families: {EXPLORATORY} is the name of the comparisons that no family "
                "has; call the family something else"
            )
        for pattern in family["outcomes"]:
            if not matching([pattern], names):
                field = f"contrasts.families.{name}.outcomes"
                raise ValueError(f"{field}: {no_outcome(pattern, names)}")
    members = [(f"the family {name}", set(_members(f, names))) for name, f in families.items()]
    members += [(f"the factorial {f['label']!r}", set(_questions(f))) for f in factorials]
    for (first, own), (second, others) in combinations(members, 2):
        for outcome, arms in sorted(own & others, key=lambda found: (found[0], sorted(found[1]))):
            raise ValueError(
                f"contrasts.families: {' and '.join(sorted(arms))} are compared on {outcome} in "
                f"both {first} and {second}; a comparison belongs to one family, so that it has "
                "one verdict"
            )


def no_outcome(name: str, names: Collection[str]) -> str:
    """Says that `name` is none of the outcomes `names`, of which there may be hundreds."""
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return (
        f"{name!r:.80} is not an outcome{hint} "
        f"(there are {', '.join(list(names)[:12])} …; contrasts.csv lists a study's)"
    )


def _members(family: Mapping, names: Collection[str]) -> Iterator[Comparison]:
    for outcome in matching(family["outcomes"], names):
        for pair in pairs_of(family):
            yield outcome, frozenset(pair)


def _questions(factorial: Mapping) -> Iterator[Comparison]:
    for a, b in FACTORIAL_PAIRS:
        yield LOSS, frozenset((factorial[a], factorial[b]))
