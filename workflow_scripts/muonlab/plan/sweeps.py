"""Which settings a study varies one at a time: by the grids of its tuning, and by its arms."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from muonlab.plan.arms import differences

if TYPE_CHECKING:
    from muonlab.plan.runs import StudyPlan


def varied_numbers(plan: "StudyPlan") -> dict[str, list[str]]:
    """The fields of which each tuned arm's grid has two or more numbers; none of other searches,
    whose points lie on no lines."""
    if plan.tuning["method"] != "grid":
        return {}
    return {
        name: [f for f, own in arm.space.items() if len(own) > 1 and all(map(_is_number, own))]
        for name, arm in plan.arms.items()
        if arm.trials
    }


def arm_sweeps(plan: "StudyPlan") -> list[dict]:
    """The numbers of an optimizer that arms change and tuning does not, as plain values.

    arm (a tuned one), field, reference (its own value), arms: [value, arm] pairs, in order of
    values, of the tuned arm and of all that differ from it in that field alone.
    """
    sweeps: dict[tuple[str, str], list[list]] = {}
    for arm in plan.arms.values():
        base = plan.arms[arm.tuned_by]
        changed = [] if arm is base else differences(arm, base)
        section, _, field = changed[0].partition(".") if len(changed) == 1 else ("", "", "")
        if section != "optimizer" or field in base.tuned or arm.factors:
            continue
        value, reference = (a.settings["optimizer"].get(field) for a in (arm, base))
        if _is_number(value) and _is_number(reference):
            sweeps.setdefault((base.name, field), [[reference, base.name]])
            sweeps[base.name, field].append([value, arm.name])
    return [
        {"arm": arm, "field": field, "reference": pairs[0][0], "arms": sorted(pairs)}
        for (arm, field), pairs in sweeps.items()
    ]


def varies_settings(plan: "StudyPlan") -> bool:
    """Whether more is varied than learning rates, which have a figure of their own."""
    grids: Mapping[str, list[str]] = varied_numbers(plan)
    return bool(arm_sweeps(plan)) or any(fields not in ([], ["lr"]) for fields in grids.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
