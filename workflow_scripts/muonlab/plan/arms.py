"""Arms: a base plus overrides, resolved to complete settings, one variable at a time."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from muonlab.plan.naming import flatten
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.schema import MODELS, Arm, Study, Training
from muonlab.plan.validate import Sources, check, did_you_mean, refuse

SHARED_BY_OPTIMIZERS = ("optimizer.weight_decay",)

Value = float | int | bool | str


@dataclass(frozen=True)
class Trial:
    """One point of an arm's tuning grid."""

    arm: str
    point: tuple[tuple[str, Value], ...]

    @property
    def settings(self) -> dict[str, Value]:
        return dict(self.point)


@dataclass(frozen=True)
class ResolvedArm:
    """An arm with every setting of its runs filled in, but for the seed and the tuned fields."""

    name: str
    label: str
    base: str | None
    compound: bool
    settings: dict
    trials: list[Trial]


def variables(a: dict, b: dict, tuned: Iterable[str] = ()) -> list[str]:
    """The variables in which two arms' settings differ.

    A swap of the optimizer is one variable; a field that both optimizers share, such as
    weight_decay, is one of its own. `tuned` fields of the optimizer are chosen, not set.
    """
    left, right = flatten(a), flatten(b)
    ignored = {f"optimizer.{name}" for name in tuned}
    differing = [
        key
        for key in sorted(left | right)
        if key not in ignored and left.get(key, ...) != right.get(key, ...)
    ]
    if left["optimizer.name"] == right["optimizer.name"]:
        return differing
    outside = [key for key in differing if not key.startswith("optimizer.")]
    shared = [key for key in differing if key in SHARED_BY_OPTIMIZERS]
    return ["optimizer", *shared, *outside]


def resolve_arms(study: Study, place: tuple, sources: Sources) -> dict[str, ResolvedArm]:
    """All arms of a study, in the order of the config.

    Raises UserError for an unknown base, optimizer or field, for arms that stand on each other, for
    an undeclared second variable, and for unequal numbers of trials.
    """
    resolver = _Resolver(study, place, sources)
    arms = {name: resolver.arm(name) for name in study.arms}
    sizes = {name: len(arm.trials) for name, arm in arms.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in sizes.items())
        refuse(sources, (*place, "arms"), f"all arms must have equally many trials, not {listed}")
    return arms


class _Resolver:
    def __init__(self, study: Study, place: tuple, sources: Sources):
        self.study, self.place, self.sources = study, place, sources
        self.done: dict[str, ResolvedArm] = {}

    def arm(self, name: str, above: tuple[str, ...] = ()) -> ResolvedArm:
        if name in self.done:
            return self.done[name]
        arm, where = self.study.arms[name], (*self.place, "arms", name)
        if name in above:
            circle = " → ".join((*above, name))
            refuse(self.sources, (*where, "base"), f"arms stand on each other: {circle}")
        base = None
        if arm.base is not None:
            if arm.base not in self.study.arms:
                sentence = f"{arm.base!r} is not an arm"
                refuse(self.sources, (*where, "base"), sentence, self.study.arms)
            base = self.arm(arm.base, (*above, name))
        settings = self._settings(arm, base, where)
        grid = self.study.tuning.grid if arm.grid is None else arm.grid
        if base is not None:
            self._check_one_variable(arm, settings, base, grid, where)
        trials = self._trials(name, settings, grid, where if arm.grid else None)
        self.done[name] = ResolvedArm(
            name, arm.label or name, arm.base, arm.compound, settings, trials
        )
        return self.done[name]

    def _settings(self, arm: Arm, base: ResolvedArm | None, where: tuple) -> dict:
        if base is None and arm.optimizer is None:
            sentence = "an arm without a base must name its optimizer"
            refuse(self.sources, (*where, "optimizer"), sentence, self.study.optimizers)
        if base is None and arm.set:
            sentence = "an arm without a base changes nothing; give it a base"
            refuse(self.sources, (*where, "set"), sentence)
        settings = dict(base.settings) if base else self._own_sections()
        if arm.optimizer is not None:
            if arm.optimizer not in self.study.optimizers:
                sentence = f"{arm.optimizer!r} is not in optimizers"
                refuse(self.sources, (*where, "optimizer"), sentence, self.study.optimizers)
            settings["optimizer"] = self.study.optimizers[arm.optimizer].model_dump()
        for dotted, value in arm.set.items():
            settings = self._put(settings, dotted, value, (*where, "set", dotted))
        return settings

    def _own_sections(self) -> dict:
        return {
            "data": self.study.data,
            "model": self.study.model.model_dump(),
            "training": self.study.training.model_dump(),
        }

    def _put(self, settings: dict, dotted: str, value: object, where: tuple) -> dict:
        """`settings` with one field changed and its whole section checked again."""
        flat = flatten(settings)
        if dotted not in flat or dotted in ("data", "model.name", "optimizer.name"):
            changeable = {k for k in flat if "." in k and not k.endswith(".name")}
            hint = did_you_mean(dotted, changeable)
            refuse(self.sources, where, "is not a field that an arm can change" + hint)
        section, *path = dotted.split(".")
        changed = _with(settings[section], path, value)
        kinds = {"model": MODELS, "optimizer": OPTIMIZERS, "training": {None: Training}}[section]
        model = kinds[changed.get("name")]
        # Only this field is new, so a complaint about the section is one about `where`.
        checked = check(model, changed, self.sources, where, exactly=True)
        return settings | {section: checked.model_dump()}

    def _check_one_variable(
        self, arm: Arm, settings: dict, base: ResolvedArm, grid: dict, where: tuple
    ) -> None:
        changed = variables(settings, base.settings, tuned=grid)
        if not changed and arm.grid is None:
            refuse(self.sources, where, f"changes nothing against its base {base.name}")
        if len(changed) > 1 and not arm.compound:
            sentence = (
                f"changes {len(changed)} variables against {base.name} ({', '.join(changed)}); "
                f"change one, or declare compound: true"
            )
            refuse(self.sources, where, sentence)

    def _trials(self, name: str, settings: dict, grid: dict, where: tuple | None) -> list[Trial]:
        """Every combination of the grid's values, each value checked as the optimizer's field."""
        where = (*where, "grid") if where else (*self.place, "tuning", "grid")
        optimizer = settings["optimizer"]
        for field, values in grid.items():
            if field not in optimizer or field == "name" or isinstance(optimizer[field], dict):
                sentence = f"is not a field of the optimizer of arm {name}"
                refuse(self.sources, (*where, field), sentence, optimizer)
            for value in values:
                section = optimizer | {field: value}
                model = OPTIMIZERS[optimizer["name"]]
                check(model, section, self.sources, (*where, field), exactly=True)
        points = itertools.product(*([(f, v) for v in values] for f, values in grid.items()))
        return [Trial(name, point) for point in points]


def _with(section: dict, path: list[str], value: object) -> dict:
    key, *rest = path
    return section | {key: _with(section[key], rest, value) if rest else value}
