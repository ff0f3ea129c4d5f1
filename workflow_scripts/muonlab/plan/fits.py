"""Checks that what a study asks of its arms fits them: the arms that `measure`, `robustness` and
`sensitivity` name, and the fields that they change."""

from collections.abc import Mapping

from muonlab.plan.arms import ResolvedArm, measured_on
from muonlab.plan.changes import put
from muonlab.plan.datasets import TEXT
from muonlab.plan.evaluation import missing_files
from muonlab.plan.factors import LEVEL_SECTIONS, Cell, cells_of
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
    for name, factor in study.factors.items():
        named["factors", name, "arms"] = factor.arms
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


def resolve_factors(
    study: Study,
    arms: Mapping[str, ResolvedArm],
    place: tuple,
    sources: Sources,
    data: Mapping[str, str],
) -> list[Cell]:
    """The cells of all factors: each of its two arms at each level and multiple of its rate.

    Raises UserError for a field that a level cannot change, for levels of which some have a dose
    and some have none, and for arms that are not measured on the same data.
    """
    found = []
    for name, factor in study.factors.items():
        where = (*place, "factors", name)
        _check_common(arms, factor.arms, (*where, "arms"), sources)
        doses = [level.dose is None for level in factor.levels.values()]
        if any(doses) and not all(doses):
            refuse(sources, (*where, "levels"), "either all levels have a dose, or none has")

        def changed(settings, field, value, level, where=where):
            at = (*where, "levels", level, "set", field)
            if field.partition(".")[0] not in LEVEL_SECTIONS:
                sentence = "is not a field that a level can change; it changes data, or fields of "
                refuse(sources, at, f"{sentence}model and training")
            return put(settings, field, value, at, sources, data)

        found += cells_of(name, factor, arms, changed)
    return found


def check_compared(
    study: Study, arms: Mapping[str, ResolvedArm], place: tuple, sources: Sources
) -> None:
    """Raises UserError if the study asks for a comparison of arms whose losses are measured on
    different data, or on sequences of different length."""
    measure = study.measure
    asked: dict[tuple, list[list[str]]] = {}
    for name, family in measure.contrasts.families.items():
        pairs = [list(pair) for pair in pairs_of(family.model_dump())]
        asked["contrasts", "families", name] = pairs
    for i, one in enumerate(measure.factorials):
        asked["factorials", str(i)] = [
            [one.both, one.without_first, one.without_second, one.neither]
        ]
    for i, step in enumerate(measure.waterfall):
        asked["waterfall", str(i)] = [[step.a, step.b]]
    if measure.ranking:
        ranked = [name for name in arms if name not in measure.unranked]
        asked["ranking",] = [[measure.ranking, name] for name in ranked]
    if measure.overhead:
        asked["overhead", "arms"] = [measure.overhead.arms]
    for path, groups in asked.items():
        for group in groups:
            known = [name for name in group if name in arms]
            _check_common(arms, known, (*place, "measure", *path), sources)


def check_evaluated(study: Study, kind: str, place: tuple, sources: Sources) -> None:
    """Raises UserError for a measurement of language models in a study of images, and for a file of
    a benchmark that does not exist."""
    for name in ("multiple_choice", "samples", "attention_patterns"):
        if getattr(study.measure, name) and kind != TEXT:
            refuse(sources, (*place, "measure", name), f"is for models of text, not of {kind}")
    for path, file in missing_files(study.measure):
        refuse(sources, (*place, *path), f"the file {file} does not exist")


def _check_common(
    arms: Mapping[str, ResolvedArm], names: list[str], where: tuple, sources: Sources
) -> None:
    for name in names[1:]:
        one, other = arms[names[0]], arms[name]
        if measured_on(one) != measured_on(other):
            told = [
                f"{arm.name} on {data}" + (f" in sequences of {length} tokens" if length else "")
                for arm in (one, other)
                for data, length in [measured_on(arm)]
            ]
            sentence = (
                f"the losses of {' and '.join(told)} are different quantities; compare arms that "
                "read the same data"
            )
            refuse(sources, where, sentence)
