"""Checks that what a study asks of its arms fits them: the arms that `measure`, `robustness` and
`sensitivity` name, and the fields that they change."""

from collections.abc import Mapping

from muonlab.plan.arms import ResolvedArm
from muonlab.plan.families import pairs_of
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.reported import arms_named
from muonlab.plan.schema import Robustness, Study
from muonlab.plan.validate import Sources, check, did_you_mean, refuse
from muonlab.tuning.space import is_number


def check_arms_named(study: Study, place: tuple, sources: Sources) -> None:
    """Raises UserError if `measure` or `robustness` names an arm that the study does not have."""
    measure = study.measure
    named = {("robustness", "arms"): study.robustness.arms if study.robustness else []}
    named["sensitivity", "arm"] = [study.sensitivity.arm] if study.sensitivity else []
    named["measure", "overhead", "arms"] = measure.overhead.arms if measure.overhead else []
    named["measure", "ranking"] = [measure.ranking] if measure.ranking else []
    named["measure", "unranked"] = measure.unranked
    for i, one in enumerate(measure.factorials):
        for role in ("both", "without_first", "without_second", "neither"):
            named["measure", "factorials", str(i), role] = [getattr(one, role)]
    named |= arms_named(measure)
    named["measure", "baseline"] = [measure.baseline] if measure.baseline else []
    for path, arms in named.items():
        for arm in arms:
            if arm not in study.arms:
                refuse(sources, (*place, *path), f"{arm!r} is not an arm", study.arms)
    removed = sources.removed((*place, "arms")) | sources.removed((*place, "published", "arms"))
    for name, family in measure.contrasts.families.items():
        for arm in dict.fromkeys(arm for pair in pairs_of(family.model_dump()) for arm in pair):
            if arm not in study.arms and arm not in removed:
                where = (*place, "measure", "contrasts", "families", name)
                refuse(sources, where, f"{arm!r} is not an arm", study.arms)


def check_perturbed(
    study: Study, arms: Mapping[str, ResolvedArm], place: tuple, sources: Sources
) -> None:
    """Raises UserError if `robustness` names a field that is not a number in any optimizer of its
    arms. The default fields are not checked: an arm that lacks one leaves it out."""
    asked = study.robustness
    if asked is None or asked.fields == Robustness.model_fields["fields"].default:
        return
    known = {
        name
        for arm in asked.arms
        for name, value in arms[arm].settings["optimizer"].items()
        if isinstance(value, float)  # a count or a boolean cannot be multiplied by 1.2
    }
    for name in asked.fields:
        if name not in known:
            sentence = f"{name!r} is not a number of an optimizer of {', '.join(asked.arms)}"
            where = (*place, "robustness", "fields")
            refuse(sources, where, sentence + did_you_mean(name, known), known)


def check_sensitivity(
    study: Study, arms: Mapping[str, ResolvedArm], place: tuple, sources: Sources
) -> None:
    """Raises UserError if `sensitivity` varies something that is not a number of its arm's
    optimizer, or gives it a value that is not allowed."""
    if study.sensitivity is None:
        return
    optimizer = arms[study.sensitivity.arm].settings["optimizer"]
    numbers = [field for field, value in optimizer.items() if is_number(value)]
    for field, values in study.sensitivity.grid.items():
        where = (*place, "sensitivity", "grid", field)
        if field not in numbers:
            sentence = f"is not a number of the optimizer of arm {study.sensitivity.arm}"
            refuse(sources, where, sentence + did_you_mean(field, numbers), numbers)
        for value in values:
            section = optimizer | {field: value}
            check(OPTIMIZERS[optimizer["name"]], section, sources, where, exactly=True)
