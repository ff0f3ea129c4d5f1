"""Resolves arms: from a base and the fields that an arm changes to the complete settings of its
runs. Also checks that an arm changes one variable only, unless it is declared compound."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from muonlab.plan.changes import put
from muonlab.plan.equal_search import check_equal_search
from muonlab.plan.naming import flatten
from muonlab.plan.schema import Arm, Study
from muonlab.plan.tuned_fields import TUNABLE, Value, multiplied, path_of, put_all, with_value
from muonlab.plan.validate import Sources, did_you_mean, refuse
from muonlab.tuning.space import grid_points, sobol_points
from muonlab.tuning.tpe import STARTUP
from muonlab.tuning.zoom import trials_of_round

SHARED_BY_OPTIMIZERS = ("optimizer.weight_decay",)


@dataclass(frozen=True)
class Trial:
    """One point of an arm's search space: a value for each tuned field."""

    arm: str
    point: tuple[tuple[str, Value], ...]

    @property
    def settings(self) -> dict[str, Value]:
        return dict(self.point)


@dataclass(frozen=True)
class ResolvedArm:
    """An arm with every setting of its runs filled in, except the seed and the tuned fields.

    `tuned_by` is the arm whose chosen settings its runs use: the arm itself or, if it is not tuned
    (and then has no trials), the nearest base that is. `budget` is the number of trials that it may
    have, `alone` says that it is searched otherwise than the other arms, and `trials` are those of
    the first round. `fixed` names the fields that the arm sets itself and for which it ignores what
    tuning chose. `factors` gives, by field, the factor by which a setting is multiplied after
    tuning.
    """

    name: str
    label: str
    base: str | None
    compound: bool
    settings: dict
    space: dict
    budget: int
    alone: bool
    trials: list[Trial]
    tuned_by: str
    tuned: frozenset[str]
    fixed: frozenset[str]
    factors: dict[str, float]

    def optimizer(self, chosen: dict[str, Value]) -> dict:
        """The optimizer's section with the values that tuning chose, except where this arm sets
        its own, and with this arm's factors applied."""
        section = self._with("optimizer", chosen)
        for field, factor in self.factors.items():
            section = multiplied(section, field, factor)
        return section

    def training(self, chosen: dict[str, Value]) -> dict:
        """The training section with the values that tuning chose, except where this arm sets its
        own."""
        return self._with("training", chosen)

    def _with(self, name: str, chosen: dict[str, Value]) -> dict:
        """One section with the chosen values of its own fields."""
        section = self.settings[name]
        known = flatten(section)
        for field, value in chosen.items():
            own, _, path = path_of(field).partition(".")
            # If the arm swaps the optimizer, the new one may lack a field that its base was tuned
            # over.
            if own == name and path in known and field not in self.fixed:
                section = with_value(section, path.split("."), value)
        return section


def differences(a: ResolvedArm, b: ResolvedArm) -> list[str]:
    """The variables in which two arms differ.

    A field that tuning chose is not one of them, unless one arm sets it itself and the other takes
    the tuned value, or the arms differ in nothing but the fields that they are tuned over.
    """
    tuned = a.tuned | b.tuned
    changed = tuned & (a.fixed ^ b.fixed)
    changed |= {f for f in a.factors | b.factors if a.factors.get(f) != b.factors.get(f)}
    either = tuned - (a.fixed & b.fixed)
    found = variables(a.settings, b.settings, tuned=either)
    found += sorted(set(map(path_of, changed)) - set(found))
    return found or sorted(map(path_of, a.tuned ^ b.tuned))


def variables(a: dict, b: dict, tuned: Iterable[str] = ()) -> list[str]:
    """The variables in which two arms' settings differ.

    Another optimizer counts as one variable; a field that optimizers share, such as weight_decay,
    counts separately. `tuned` fields are ignored, since tuning chooses them.
    """
    left, right = flatten(a), flatten(b)
    ignored = set(map(path_of, tuned))
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


def measured_on(arm: ResolvedArm) -> tuple[str, int | None]:
    """What an arm's losses are measured on: its data, and the length of its sequences. Losses are
    compared between arms that have both in common."""
    return arm.settings["data"], arm.settings["model"].get("context")


def resolve_arms(
    study: Study, place: tuple, sources: Sources, data: Mapping[str, str] | None = None
) -> dict[str, ResolvedArm]:
    """All arms of a study, in the order of the config. `data` gives the kind of each data set.

    Raises UserError for an unknown base, optimizer or field, for bases that form a cycle, for an
    undeclared second variable, and for tuned arms that are not searched alike and do not declare
    `unequal_search`.
    """
    resolver = _Resolver(study, place, sources, data or {})
    arms = {name: resolver.arm(name) for name in study.arms}
    alike = (arm for arm in arms.values() if arm.trials and not study.arms[arm.name].unequal_search)
    check_equal_search(alike, lambda sentence: refuse(sources, (*place, "arms"), sentence))
    return arms


class _Resolver:
    def __init__(self, study: Study, place: tuple, sources: Sources, data: Mapping[str, str]):
        self.study, self.place, self.sources, self.data = study, place, sources, data
        self.done: dict[str, ResolvedArm] = {}

    def arm(self, name: str, above: tuple[str, ...] = ()) -> ResolvedArm:
        if name in self.done:
            return self.done[name]
        arm, where = self.study.arms[name], (*self.place, "arms", name)
        if name in above:
            cycle = " → ".join((*above[above.index(name) :], name))
            refuse(self.sources, (*where, "base"), f"the bases of these arms form a cycle: {cycle}")
        base = None
        if arm.base is not None:
            if arm.base not in self.study.arms:
                sentence = f"{arm.base!r} is not an arm"
                refuse(self.sources, (*where, "base"), sentence, self.study.arms)
            base = self.arm(arm.base, (*above, name))
        settings = self._settings(arm, base, where)
        space = self._space(name, arm, settings, where) if arm.tune else {}
        budget, tuning = arm.trials or self.study.tuning.trials, self.study.tuning
        if tuning.method == "zoom" and budget < tuning.rounds:
            sentence = f"({budget}) must be at least tuning.rounds ({tuning.rounds})"
            refuse(self.sources, (*where, "trials"), sentence)
        trials = self._trials(name, space, budget) if arm.tune else []
        resolved = ResolvedArm(
            name=name,
            label=arm.label or name,
            base=arm.base,
            compound=arm.compound,
            settings=settings,
            space=space,
            budget=budget,
            alone=arm.unequal_search,
            trials=trials,
            tuned_by=name if arm.tune else base.tuned_by,
            tuned=frozenset(trials[0].settings) if arm.tune else base.tuned,
            fixed=frozenset((base.fixed if base else set()) | _set_fields(arm)) - frozenset(space),
            factors=self._factors(arm, base, settings, where),
        )
        self._check_fit(settings, where)
        if base is not None:
            self._check_one_variable(arm, resolved, base, where)
        self.done[name] = resolved
        return resolved

    def _settings(self, arm: Arm, base: ResolvedArm | None, where: tuple) -> dict:
        if base is None and arm.optimizer is None:
            sentence = "an arm without a base must name its optimizer"
            refuse(self.sources, (*where, "optimizer"), sentence, self.study.optimizers)
        if base is None and arm.set:
            sentence = "an arm without a base has nothing to change; give it a base"
            refuse(self.sources, (*where, "set"), sentence)
        if not arm.tune and (base is None or arm.grid is not None):
            sentence = (
                "an arm that is not tuned takes the settings chosen for its base, so it must have "
                "a base and must not have a grid"
            )
            refuse(self.sources, (*where, "tune"), sentence)
        settings = dict(base.settings) if base else self._own_sections()
        if arm.optimizer is not None:
            if arm.optimizer not in self.study.optimizers:
                sentence = f"{arm.optimizer!r} is not in optimizers"
                refuse(self.sources, (*where, "optimizer"), sentence, self.study.optimizers)
            settings["optimizer"] = self.study.optimizers[arm.optimizer].model_dump()
        return put_all(
            settings,
            arm.set,
            lambda own, field, value: self._put(own, field, value, (*where, "set", field)),
        )

    def _own_sections(self) -> dict:
        return {
            "data": self.study.data,
            "model": self.study.model.model_dump(),
            "training": self.study.training.model_dump(),
        }

    def _put(self, settings: dict, dotted: str, value: object, where: tuple) -> dict:
        return put(settings, dotted, value, where, self.sources, self.data)

    def _factors(
        self, arm: Arm, base: ResolvedArm | None, settings: dict, where: tuple
    ) -> dict[str, float]:
        """The factors on the arm's numbers, by field, including those that it takes from its
        base."""
        factors = dict(base.factors) if base else {}
        for dotted, factor in arm.multiply.items():
            section, _, field = dotted.partition(".")
            if section != "optimizer" or not isinstance(settings[section].get(field), float):
                hint = did_you_mean(dotted, {f"optimizer.{f}" for f in settings["optimizer"]})
                sentence = "is not a number of the optimizer that can be multiplied" + hint
                refuse(self.sources, (*where, "multiply", dotted), sentence)
            factors[field] = factors.get(field, 1.0) * factor
        return factors

    def _check_fit(self, settings: dict, where: tuple) -> None:
        """Raises UserError if the optimizer cannot work with the arm's model: muonclip needs
        attention logits that are not normalised."""
        model = settings["model"]
        if settings["optimizer"]["name"] == "muonclip" and model.get("qk_norm", True):
            has = "normalises its" if model["name"] == "transformer" else "has no"
            sentence = (
                f"muonclip clips attention logits, and the model {model['name']} {has} logits"
            )
            refuse(self.sources, where, sentence)

    def _check_one_variable(
        self, arm: Arm, resolved: ResolvedArm, base: ResolvedArm, where: tuple
    ) -> None:
        changed = differences(resolved, base)
        if not changed and arm.grid is None:
            refuse(self.sources, where, f"changes nothing compared with its base {base.name}")
        if len(changed) > 1 and not arm.compound:
            sentence = (
                f"changes {len(changed)} variables against {base.name} ({', '.join(changed)}); "
                f"change one, or declare compound: true"
            )
            refuse(self.sources, where, sentence)

    def _space(self, name: str, arm: Arm, settings: dict, where: tuple) -> dict:
        """The arm's search space. Each of its values and ends of ranges is checked to be one that
        the optimizer's field allows."""
        method = self.study.tuning.method
        kind = "grid" if method == "grid" else "box"
        if kind == "box" and arm.grid is not None:
            sentence = (
                f"is read by the method grid alone, and the study's method is {method}; give "
            )
            refuse(self.sources, (*where, "grid"), f"{sentence}the arm a box, or the study a grid")
        whose, held = self._searched_as(name, kind)
        space = (self.study.arms[whose] if whose else self.study.tuning).model_dump()[kind]
        space = {field: axis for field, axis in space.items() if field not in held}
        where = (*self.place, *(("arms", whose) if whose else ("tuning",)), kind)
        if kind == "box" and arm.tune and not space:
            refuse(self.sources, where, "must name one or more fields to tune")
        optimizer = {f for f in flatten(settings["optimizer"]) if f != "name"}
        for field, axis in space.items():
            if field not in optimizer and field not in TUNABLE:
                sentence = f"is not a field of the optimizer of arm {name}"
                refuse(self.sources, (*where, field), sentence, [*optimizer, *TUNABLE])
            for value in [axis["low"], axis["high"]] if isinstance(axis, dict) else axis:
                self._put(settings, path_of(field), value, (*where, field))
        return space

    def _searched_as(self, name: str, kind: str) -> tuple[str | None, set[str]]:
        """The arm whose own box or grid an arm has: itself, or else the nearest base with one and
        the same optimizer; None if there is no such arm. And the fields that the arms on the way
        there set, over which the arm is therefore not tuned."""
        held: set[str] = set()
        while getattr(self.study.arms[name], kind) is None:
            arm = self.study.arms[name]
            held |= _set_fields(arm)
            if arm.optimizer is not None or arm.base is None:
                return None, held
            name = arm.base
        return name, held

    def _trials(self, name: str, space: dict, budget: int) -> list[Trial]:
        """The trials of the first round, which are known before anything has run."""
        tuning = self.study.tuning
        if tuning.method == "grid":
            points = grid_points(space)
        else:
            first = {
                "sobol": budget,
                "zoom": trials_of_round(budget, tuning.rounds, 1),
                "tpe": min(budget, STARTUP),
            }[tuning.method]
            points = sobol_points(space, first, tuning.search_seed, place=f"arm {name}: box")
        return [Trial(name, tuple(point.items())) for point in points]


def _set_fields(arm: Arm) -> set[str]:
    """The fields that the arm sets itself, named as tuned fields are."""
    return {dotted.removeprefix("optimizer.") for dotted in arm.set}
