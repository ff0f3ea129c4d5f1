"""Which arms of a study are compared, in which direction, and to which family each comparison
belongs."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

from muonlab.plan.arms import ResolvedArm, differences, measured_on
from muonlab.plan.families import (
    FACTORIAL_PAIRS,
    FACTORIAL_QUESTIONS,
    LOSS,
    matching,
    pairs_of,
)
from muonlab.plan.measure import outcomes
from muonlab.plan.runs import StudyPlan

SCALE, MATCHED = "optimizer.scale", "fixed_rms"
BASELINE = "adamw"


@cache
def arm_order(study: StudyPlan) -> list[str]:
    """The arms in the order that gives every difference its sign: of two arms, the one that comes
    later here minus the one that comes earlier.

    Arms whose optimizer is adamw come first, so that a difference is Muon − AdamW everywhere; then
    the arm that others are ranked against; then every base before the arms that start from it,
    otherwise in the order of the config.
    """
    arms, ranked_against = study.arms, study.measure["ranking"]
    found: dict[str, None] = {}

    def add(arm: ResolvedArm) -> None:
        if arm.base is not None and arm.base not in found:
            add(arms[arm.base])
        found.setdefault(arm.name)

    for arm in arms.values():
        add(arm)
    optimizers = {name: arm.settings["optimizer"]["name"] for name, arm in arms.items()}
    return sorted(found, key=lambda arm: (optimizers[arm] != BASELINE, arm != ranked_against))


def study_pairs(study: StudyPlan) -> list[dict]:
    """The pairs of arms that are compared: a and b of each difference a − b, the variables in which
    they differ, and the outcomes on which they are compared (empty: on all).

    Fields that tuning chooses do not count as variables.
    """
    on_all = dict.fromkeys(_asked_pairs(study))
    some: dict[tuple[str, str], list[str]] = {}
    for family in study_families(study):
        for pair in map(tuple, family["pairs"]):
            if pair not in on_all:
                own = some.setdefault(pair, [])
                own += [name for name in family["outcomes"] if name not in own]
    arms = study.arms
    return [
        {"a": a, "b": b, "variables": differences(arms[a], arms[b]), "outcomes": some.get(pair, [])}
        for pair in dict.fromkeys([*on_all, *some])
        for a, b in [pair]
    ]


@cache
def study_families(study: StudyPlan) -> list[dict]:
    """The families of comparisons that the config declares, and then one for each factorial, one
    for the gaps of the waterfall and two for the ranking: name, claim, declared, outcomes, pairs
    (each a and b of a − b) and size, the number of comparisons.

    A factorial's size counts its synergy too, which compares no pair. The ranking's families are
    all other comparisons with the arm that is ranked against, and of twins with that arm's twin.
    """
    names, order = [outcome["name"] for outcome in outcomes(study.measure)], arm_order(study)
    found = []
    for name, family in study.measure["contrasts"]["families"].items():
        pairs = [oriented(order, a, b) for a, b in pairs_of(family) if {a, b} <= set(study.arms)]
        own = matching(family["outcomes"], names)
        declared = {"name": name, "claim": family["claim"], "declared": True}
        found.append(declared | _members(own, pairs, len(own) * len(pairs)))
    for one in study.measure["factorials"]:
        pairs = [oriented(order, one[a], one[b]) for a, b in FACTORIAL_PAIRS]
        asked = {"name": f"factorial {one['label']}", "claim": "", "declared": False}
        found.append(asked | _members([LOSS], pairs, FACTORIAL_QUESTIONS))
    on_loss = [family for family in found if LOSS in family["outcomes"]]
    taken = {tuple(pair) for family in on_loss for pair in family["pairs"]}
    steps = study.measure["waterfall"]
    gaps = [oriented(order, one["a"], one["b"]) for one in steps if one["outcome"] == LOSS]
    own = [pair for pair in dict.fromkeys(gaps) if pair not in taken]
    falls = {"name": "waterfall", "claim": "", "declared": False}
    found.append(falls | _members([LOSS], own, len(own)))
    taken |= set(own)
    for name, pairs in _ranking_pairs(study).items():
        own = [pair for pair in dict.fromkeys(pairs) if pair not in taken]
        ranked = {"name": name, "claim": "", "declared": False}
        found.append(ranked | _members([LOSS], own, len(own)))
    return [family for family in found if family["size"]]


def oriented(order: Sequence[str], one: str, other: str) -> tuple[str, str]:
    """Two arms as (a, b) of their difference a − b, of which a comes later in `order`, the study's
    `arm_order`."""
    return (one, other) if order.index(one) > order.index(other) else (other, one)


def _members(names: list[str], pairs: list[tuple[str, str]], size: int) -> dict:
    return {"outcomes": names, "pairs": [list(pair) for pair in pairs], "size": size}


def _asked_pairs(study: StudyPlan) -> Iterator[tuple[str, str]]:
    """The pairs that are compared on all outcomes, as `contrasts.pairs` asks. Pairs whose losses
    are measured on different data are left out; the notes of figures name these arms."""
    order = arm_order(study)
    for one, other in _wished_pairs(study):
        if measured_on(study.arms[one]) == measured_on(study.arms[other]):
            yield oriented(order, one, other)


def _wished_pairs(study: StudyPlan) -> Iterator[tuple[str, str]]:
    arms = list(study.arms.values())
    if study.measure["contrasts"]["pairs"] == "all":
        yield from combinations(study.arms, 2)
        return
    for arm in arms:
        base = arm.base or arms[0].name
        if base != arm.name:
            yield arm.name, base


def _ranking_pairs(study: StudyPlan) -> dict[str, list[tuple[str, str]]]:
    """The pairs that a ranking compares, by the name of their family."""
    against = study.measure["ranking"]
    if not against:
        return {}
    twins, order = _twins(study), arm_order(study)
    others = [arm for arm in study.arms if arm not in (against, *study.measure["unranked"])]
    matched = [twin for arm, twin in twins.items() if against in twins and arm != against]
    return {
        f"ranking against {against}": [oriented(order, arm, against) for arm in others],
        "ranking of twins": [oriented(order, twin, twins[against]) for twin in matched],
    }


def _twins(study: StudyPlan) -> dict[str, str]:
    """arm → the arm that differs from it in nothing but steps of one size, tuned values
    included."""
    matched = [
        arm for arm in study.arms.values() if arm.settings["optimizer"].get("scale") == MATCHED
    ]
    return {
        arm.name: twin.name
        for arm in study.arms.values()
        for twin in matched
        if twin.tuned_by == arm.tuned_by and differences(twin, arm) == [SCALE]
    }
