"""Which settings a study varies one at a time, in its tuning grids or from arm to arm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from muonlab.plan.arms import differences
from muonlab.tuning.space import is_number

if TYPE_CHECKING:
    from muonlab.plan.runs import StudyPlan


def varied_numbers(plan: "StudyPlan") -> dict[str, list[str]]:
    """For each tuned arm, the fields for which its grid has two or more numbers.

    Empty for every method but grid, whose trials do not vary one setting at a time.
    """
    if plan.tuning["method"] != "grid":
        return {}
    return {
        name: [f for f, own in arm.space.items() if len(own) > 1 and all(map(is_number, own))]
        for name, arm in plan.arms.items()
        if arm.trials
    }


def arm_sweeps(plan: "StudyPlan") -> list[dict]:
    """The numbers of the optimizer that vary from arm to arm and are not tuned, as plain values.

    Each record has `arm` (a tuned arm), `field`, `reference` (the value of that arm) and `arms`:
    the [value, arm] pairs, sorted by value, of the tuned arm and of all arms that differ from it in
    this field only.
    """
    sweeps: dict[tuple[str, str], list[list]] = {}
    for arm in plan.arms.values():
        base = plan.arms[arm.tuned_by]
        changed = [] if arm is base else differences(arm, base)
        section, _, field = changed[0].partition(".") if len(changed) == 1 else ("", "", "")
        if section != "optimizer" or field in base.tuned or arm.factors:
            continue
        value, reference = (a.settings["optimizer"].get(field) for a in (arm, base))
        if is_number(value) and is_number(reference):
            sweeps.setdefault((base.name, field), [[reference, base.name]])
            sweeps[base.name, field].append([value, arm.name])
    return [
        {"arm": arm, "field": field, "reference": pairs[0][0], "arms": sorted(pairs)}
        for (arm, field), pairs in sweeps.items()
    ]


def varies_settings(plan: "StudyPlan") -> bool:
    """Whether anything except the learning rate is varied. (That has its own figure.)"""
    grids: Mapping[str, list[str]] = varied_numbers(plan)
    return bool(plan.sensitivity or arm_sweeps(plan)) or any(
        fields not in ([], ["lr"]) for fields in grids.values()
    )
