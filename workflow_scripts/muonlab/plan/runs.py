"""Studies → arms → runs: what is to be trained, under which name, with which settings.

A run is a plain dictionary of plain values, the whole of what its training may depend on. Its name
is a function of it (`naming`), so equal runs of two studies are one run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from muonlab.plan.arms import ResolvedArm, Trial, Value, resolve_arms
from muonlab.plan.naming import defaults_of, run_name
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.schema import MODELS, Config, Training
from muonlab.plan.validate import Sources, load_config, published, refuse


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
    arms: dict[str, ResolvedArm]
    runs: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self):
        """Enters every run that can be asked for into `runs`, whichever trial will be chosen."""
        for arm, resolved in self.arms.items():
            self.tuning_runs(arm)
            for trial in resolved.trials:
                self.reporting_runs(arm, trial.settings)

    def tuning_runs(self, arm: str) -> list[tuple[Trial, int, str]]:
        """(trial, seed, run) for every tuning run of `arm`."""
        return [
            (trial, seed, self._run(arm, trial.settings, seed, "tuning"))
            for trial in self.arms[arm].trials
            for seed in self.tuning["seeds"]
        ]

    def reporting_runs(self, arm: str, settings: dict[str, Value]) -> list[tuple[int, str]]:
        """(seed, run) for every reporting run of `arm` with the chosen settings."""
        return [(seed, self._run(arm, settings, seed, "reporting")) for seed in self.seeds]

    def _run(self, arm: str, tuned: dict[str, Value], seed: int, phase: str) -> str:
        """Enters a run and returns its name.

        Only reporting runs read the test set, once, and follow the geometry of their weights.
        """
        settings = self.arms[arm].settings
        config = {
            "data": settings["data"],
            "model": settings["model"],
            "training": _watched(settings["training"], phase),
            "optimizer": settings["optimizer"] | tuned,
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
    return StudyPlan(
        name=key,
        title=study.title or name,
        protocol=protocol,
        data=study.data,
        seeds=study.seeds,
        tuning=study.tuning.model_dump(),
        measure=study.measure.model_dump(),
        arms=resolve_arms(study, place, sources),
    )


def _watched(training: dict, phase: str) -> dict:
    """The training section without what only reporting runs are watched by, so that a tuning run
    is not another one, to be trained anew, for how often they are."""
    if phase == "reporting":
        return training
    return {field: value for field, value in training.items() if field != "geometry_every"}


def _defaults(config: dict) -> dict[str, dict]:
    """Defaults of the run's sections, for naming; the learning rate is always shown."""
    optimizer = defaults_of(OPTIMIZERS[config["optimizer"]["name"]])
    optimizer.pop("lr", None)
    return {
        "model": defaults_of(MODELS[config["model"]["name"]]),
        "training": defaults_of(Training),
        "optimizer": optimizer,
    }
