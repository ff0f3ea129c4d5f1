"""Studies → arms → runs: what is to be trained, under which name, with which settings.

A run is a plain dictionary of plain values, the whole of what its training may depend on. Its name
is a function of it (`naming`), so equal runs of two studies are one run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muonlab.plan.arms import ResolvedArm, Trial, Value, resolve_arms, scaled
from muonlab.plan.datasets import KINDS
from muonlab.plan.models import MODELS, READS
from muonlab.plan.naming import defaults_of, run_name
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.schema import Config, Robustness, Study
from muonlab.plan.training import WATCHED, Training
from muonlab.plan.validate import Sources, did_you_mean, load_config, published, refuse
from muonlab.tuning.tpe import STARTUP


@dataclass
class StudyPlan:
    """A study under one protocol."""

    name: str
    title: str
    protocol: str
    data: str
    seeds: list[int]
    tuning: dict
    measure: dict
    robustness: dict | None
    arms: dict[str, ResolvedArm]
    runs: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self):
        """Enters every run that can be asked for into `runs`, whichever trial will be chosen."""
        self.first = {name: list(arm.trials) for name, arm in self.arms.items()}
        self._enter_runs()

    @property
    def rounds(self) -> int:
        """Rounds of tuning: the first, and those whose trials follow from earlier ones."""
        if self.tuning["method"] != "tpe":
            return 1 + self.tuning["extensions"]
        later = max(0, self.tuning["trials"] - STARTUP)
        return 1 + -(-later // self.tuning["batch"])

    def offers(self, selection: dict) -> bool:
        """Whether a selection has every tuned arm, with settings of one of its trials."""
        chosen = {name: arm["settings"] for name, arm in selection["arms"].items()}
        return all(
            chosen.get(name) in [trial.settings for trial in arm.trials]
            for name, arm in self.arms.items()
            if arm.trials
        )

    def add_trials(self, points: dict[str, list[dict[str, Value]]]) -> None:
        """Adds the trials that a later round proposed for each arm; those known are left out."""
        for arm, proposed in points.items():
            known = {trial.point for trial in self.arms[arm].trials}
            trials = [Trial(arm, tuple(point.items())) for point in proposed]
            self.arms[arm].trials.extend(t for t in trials if t.point not in known)
        self._enter_runs()

    def _enter_runs(self) -> None:
        for arm, resolved in self.arms.items():
            self.tuning_runs(arm)
            for trial in self.arms[resolved.tuned_by].trials:
                self.reporting_runs(arm, trial.settings)
                self.robustness_runs(arm, trial.settings)

    def tuning_runs(
        self, arm: str, trials: list[Trial] | None = None
    ) -> list[tuple[Trial, int, str]]:
        """(trial, seed, run) for every tuning run of `arm`, or of some of its trials; none where it
        is not tuned."""
        resolved = self.arms[arm]
        return [
            (trial, seed, self._run(arm, resolved.optimizer(trial.settings), seed, "tuning"))
            for trial in (resolved.trials if trials is None else trials)
            for seed in self.tuning["seeds"]
        ]

    def reporting_runs(self, arm: str, chosen: dict[str, Value]) -> list[tuple[int, str]]:
        """(seed, run) for every reporting run of `arm`, where tuning chose `chosen`."""
        optimizer = self.arms[arm].optimizer(chosen)
        return [(seed, self._run(arm, optimizer, seed, "reporting")) for seed in self.seeds]

    def robustness_runs(
        self, arm: str, chosen: dict[str, Value]
    ) -> list[tuple[str, float, int, str]]:
        """(field, factor, seed, run) for every run of `arm` with one of its chosen settings
        multiplied; such runs do not read the test set, as tuning runs do not."""
        optimizer = self.arms[arm].optimizer(chosen)
        found = []
        for name, factor in self._perturbations(arm, optimizer):
            changed = optimizer | {name: scaled(name, optimizer[name], factor)}
            for seed in self.seeds[: self.robustness["seeds"]]:
                found.append((name, factor, seed, self._run(arm, changed, seed, "tuning")))
        return found

    def _perturbations(self, arm: str, optimizer: dict) -> list[tuple[str, float]]:
        """(field, factor) of every changed setting; a setting that is 0 cannot be multiplied."""
        if self.robustness is None or arm not in self.robustness["arms"]:
            return []
        relative = self.robustness["relative"]
        fields = [f for f in self.robustness["fields"] if optimizer.get(f)]
        return [("lr", factor) for factor in self.robustness["lr_factors"]] + [
            (field, factor) for field in fields for factor in (1 - relative, 1 + relative)
        ]

    def _run(self, arm: str, optimizer: dict, seed: int, phase: str) -> str:
        """Enters a run and returns its name.

        Only reporting runs read the test set, once, and are watched while they train.
        """
        settings = self.arms[arm].settings
        config = {
            "data": settings["data"],
            "model": settings["model"],
            "training": _watched(settings["training"], phase),
            "optimizer": optimizer,
            "seed": seed,
            "phase": phase,
        }
        name = run_name(config, _defaults(config))
        self.runs[name] = config
        return name


@dataclass
class Plan:
    """Everything that the rules need to know."""

    data: dict[str, dict]
    studies: dict[str, StudyPlan]
    runs: dict[str, dict]
    sources: Sources

    @property
    def data_used(self) -> list[str]:
        """Names of the data sets that a study asks for."""
        return list(dict.fromkeys(study.data for study in self.studies.values()))

    def data_of_kind(self, kind: str) -> list[str]:
        """Names of the data sets of images, or of text."""
        return [name for name, section in self.data.items() if KINDS[section["source"]] == kind]

    def place(self, *path: str) -> str:
        """A field as sentences about it start: the file that sets it, and its dotted path."""
        return f"{self.sources.of(path)}: {'.'.join(path)}"


def load_plan(files: Iterable[str | Path], command_line: Mapping | None = None) -> Plan:
    """The plan that the config files make, and what the command line sets over them.

    Raises UserError with one sentence if a field is wrong.
    """
    config, sources = load_config(files, command_line or {})
    studies: dict[str, StudyPlan] = {}
    for name, study in config.studies.items():
        for protocol in study.protocols:
            key = name if protocol == "fair" else f"{name}_{protocol}"
            if key in studies or (key != name and key in config.studies):
                refuse(sources, ("studies", name), f"two studies would be called {key}")
            studies[key] = _study_plan(key, name, protocol, config, sources)
    return Plan(
        data={name: section.model_dump() for name, section in config.data.items()},
        studies=studies,
        runs={name: run for plan in studies.values() for name, run in plan.runs.items()},
        sources=sources,
    )


def _study_plan(key: str, name: str, protocol: str, config: Config, sources: Sources) -> StudyPlan:
    place, study = ("studies", name), config.studies[name]
    if protocol == "published":
        study = published(study, place, sources)
    if study.data not in config.data:
        refuse(sources, (*place, "data"), f"{study.data!r} is not in data", config.data)
    kind, needed = KINDS[config.data[study.data].source], READS[study.model.name]
    if kind != needed:
        sentence = f"the model {study.model.name} reads {needed}, and {study.data!r} holds {kind}"
        refuse(sources, (*place, "data"), sentence)
    _check_arms_named(study, place, sources)
    arms = resolve_arms(study, place, sources)
    _check_perturbed(study, arms, place, sources)
    return StudyPlan(
        name=key,
        title=study.title or name,
        protocol=protocol,
        data=study.data,
        seeds=study.seeds,
        tuning=study.tuning.model_dump(),
        measure=study.measure.model_dump(),
        robustness=study.robustness.model_dump() if study.robustness else None,
        arms=arms,
    )


def _check_arms_named(study: Study, place: tuple, sources: Sources) -> None:
    """Raises UserError where `measure` or `robustness` names an arm that the study has not."""
    measure = study.measure
    named = {("robustness", "arms"): study.robustness.arms if study.robustness else []}
    named["measure", "overhead", "arms"] = measure.overhead.arms if measure.overhead else []
    named["measure", "ranking"] = [measure.ranking] if measure.ranking else []
    for i, one in enumerate(measure.factorials):
        for role in ("both", "without_first", "without_second", "neither"):
            named["measure", "factorials", str(i), role] = [getattr(one, role)]
    for path, arms in named.items():
        for arm in arms:
            if arm not in study.arms:
                refuse(sources, (*place, *path), f"{arm!r} is not an arm", study.arms)


def _check_perturbed(
    study: Study, arms: Mapping[str, ResolvedArm], place: tuple, sources: Sources
) -> None:
    """Raises UserError where `robustness` names a field that is no number of its arms' optimizers;
    of the default fields, an arm changes those that it has."""
    asked = study.robustness
    if asked is None or asked.fields == Robustness.model_fields["fields"].default:
        return
    known = {
        name
        for arm in asked.arms
        for name, value in arms[arm].settings["optimizer"].items()
        if isinstance(value, float)  # a count or a truth value times 1.2 is none
    }
    for name in asked.fields:
        if name not in known:
            sentence = f"{name!r} is not a number of an optimizer of {', '.join(asked.arms)}"
            where = (*place, "robustness", "fields")
            refuse(sources, where, sentence + did_you_mean(name, known), known)


def _watched(training: dict, phase: str) -> dict:
    """The training section without what only reporting runs are watched by, so that a tuning run
    is not another one, to be trained anew, for how often they are."""
    if phase == "reporting":
        return training
    return {field: value for field, value in training.items() if field not in WATCHED}


def _defaults(config: dict) -> dict[str, dict]:
    """Defaults of the run's sections, for naming; the learning rate is always shown."""
    optimizer = defaults_of(OPTIMIZERS[config["optimizer"]["name"]])
    optimizer.pop("lr", None)
    return {
        "model": defaults_of(MODELS[config["model"]["name"]]),
        "training": defaults_of(Training),
        "optimizer": optimizer,
    }
