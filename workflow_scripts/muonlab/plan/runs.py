"""From studies to arms to runs: what is trained, under which name and with which settings.

The config of a run is a dictionary of plain values, and its training depends on nothing else. Its
name is computed from the config (see `naming`), so equal runs of two studies are one run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from muonlab.plan.arms import ResolvedArm, differences, resolve_arms
from muonlab.plan.datasets import KINDS
from muonlab.plan.factors import Cell
from muonlab.plan.fits import (
    check_arms_named,
    check_compared,
    check_evaluated,
    check_perturbed,
    check_sensitivity,
    resolve_factors,
)
from muonlab.plan.kept import KEEP_NOTHING, kept_weights
from muonlab.plan.models import READS
from muonlab.plan.naming import defaults_of, seed_name, settings_name
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.reported import misfits
from muonlab.plan.schema import Config
from muonlab.plan.training import WATCHED
from muonlab.plan.tuned_fields import Value, multiplied, with_settings
from muonlab.plan.validate import Sources, load_config, published, refuse
from muonlab.tuning.tpe import STARTUP

TUNING, REPORTING = "tuning", "reporting"
# More steps between evaluations than any run has, so that only its start and its end are evaluated.
NEVER = 10**9
# Examples that a loss curve reads where nobody looks at it: enough to see whether a run ended above
# the loss that it began with.
FEW = 16


@dataclass(frozen=True)
class Run:
    """One training run that a study asks for.

    `config` holds, as plain values, everything that its training may depend on; `name` is computed
    from it. `settings` are the values of the tuned fields or, for a robustness run, of the changed
    one.
    """

    name: str
    study: str
    arm: str
    seed: int
    phase: str
    settings: dict[str, Value]
    config: dict


# Studies are compared by identity: what follows from a study is computed once and kept by it.
@dataclass(frozen=True, eq=False)
class StudyPlan:
    """A study under one protocol."""

    name: str
    title: str
    protocol: str
    data: str
    kind: str
    seeds: list[int]
    tuning: dict
    measure: dict
    robustness: dict | None
    sensitivity: dict | None
    arms: dict[str, ResolvedArm]
    factors: dict[str, dict]
    cells: list[Cell]

    @property
    def rounds(self) -> int:
        """The number of rounds of tuning: the first one, and those that follow from it."""
        if self.tuning["method"] == "zoom":
            return self.tuning["rounds"] + self.tuning["extensions"]
        if self.tuning["method"] != "tpe":
            return 1 + self.tuning["extensions"]
        later = max(0, self.tuning["trials"] - STARTUP)
        return 1 + -(-later // self.tuning["batch"])

    @property
    def tuned_arms(self) -> dict[str, ResolvedArm]:
        """The arms that are tuned, each with the trials of its first round."""
        return {name: arm for name, arm in self.arms.items() if arm.trials}

    def tuning_runs(self, trials: Mapping[str, Sequence[Mapping[str, Value]]]) -> list[Run]:
        """All tuning runs, given the trials of each tuned arm.

        Where the final loss decides, which is that of the whole split, the loss curve has only its
        two ends, and each of them reads a few examples.
        """
        return [
            run
            for arm in self.tuned_arms
            for settings in trials[arm]
            for run in self._runs(
                arm, dict(settings), self.tuning["seeds"], TUNING, more=self._rarely(arm)
            )
        ]

    def _rarely(self, arm: str) -> dict[str, Value] | None:
        """The fields of training that make the loss curve of the arm's tuning runs cheap, where the
        final loss decides."""
        if self.tuning["score"] != "final":
            return None
        part = self.arms[arm].settings["training"]["evaluation_examples"]
        few = {} if part is None else {"evaluation_examples": min(part, FEW)}
        return {"eval_every": NEVER} | few

    def reporting_runs(self, arm: str, chosen: Mapping[str, Value]) -> list[Run]:
        """All reporting runs of `arm`, given the settings `chosen` by tuning."""
        return self._runs(arm, dict(chosen), self.seeds, REPORTING)

    def robustness_runs(
        self, arm: str, chosen: Mapping[str, Value]
    ) -> list[tuple[str, float, Run]]:
        """(field, factor, run) for every run of `arm` in which one chosen setting is multiplied.

        Like tuning runs, these runs do not read the test set.
        """
        optimizer = self.arms[arm].optimizer(dict(chosen))
        found = []
        for name, factor in self._perturbations(arm, optimizer):
            changed = multiplied(optimizer, name, factor)
            seeds = self.seeds[: self.robustness["seeds"]]
            shown = {name: changed[name]}
            runs = self._runs(arm, shown, seeds, TUNING, (dict(chosen), changed))
            found += [(name, factor, run) for run in runs]
        return found

    def sensitivity_runs(self, chosen: Mapping[str, Value]) -> list[Run]:
        """The runs over the grid of `sensitivity`, given what tuning chose for its arm. Their
        `settings` are those of the grid's fields."""
        asked = self.sensitivity
        optimizer = self.arms[asked["arm"]].optimizer(dict(chosen))
        axes = {
            field: sorted({optimizer[field], *values}) for field, values in asked["grid"].items()
        }
        found = []
        for values in product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            changed = with_settings(optimizer, point)
            seeds = self.seeds[: asked["seeds"]]
            found += self._runs(asked["arm"], point, seeds, TUNING, (dict(chosen), changed))
        return found

    @property
    def data_used(self) -> list[str]:
        """Names of the data sets that the arms and the levels of factors read."""
        read = [arm.settings["data"] for arm in (*self.arms.values(), *(c.arm for c in self.cells))]
        return list(dict.fromkeys([self.data, *read]))

    def factor_runs(self, cell: Cell, chosen: Mapping[str, Value]) -> list[Run]:
        """The runs of an arm at one level of a factor, given what tuning chose for the arm: the
        arm's own reporting runs where the level changes nothing."""
        seeds = self.seeds[: self.factors[cell.factor]["seeds"]]
        if cell.is_own:
            return [run for run in self.reporting_runs(cell.arm.name, chosen) if run.seed in seeds]
        sections = cell.sections(chosen)
        return self._made(cell.arm.name, sections, dict(chosen), seeds, TUNING)

    def _perturbations(self, arm: str, optimizer: dict) -> list[tuple[str, float]]:
        """(field, factor) for every change. Settings that are 0 are left out, since a factor does
        not change them."""
        if self.robustness is None or arm not in self.robustness["arms"]:
            return []
        relative = self.robustness["relative"]
        fields = [f for f in self.robustness["fields"] if optimizer.get(f)]
        return [
            *(("lr", factor) for factor in self.robustness["lr_factors"]),
            *(("embedding_ratio", factor) for factor in self.robustness["embedding_factors"]),
            *((field, factor) for field in fields for factor in (1 - relative, 1 + relative)),
        ]

    def _runs(
        self,
        arm: str,
        settings: dict[str, Value],
        seeds: Sequence[int],
        phase: str,
        changed: tuple[dict, dict] | None = None,
        more: Mapping[str, Value] | None = None,
    ) -> list[Run]:
        """One run for each seed. With `changed`, the settings that tuning chose and another section
        for the optimizer, these are used; otherwise the arm's own with `settings`. `more` replaces
        fields of training.

        Only reporting runs read the test set (once) and have observers while they train.
        """
        resolved = self.arms[arm]
        chosen = settings if changed is None else changed[0]
        sections = {
            "data": resolved.settings["data"],
            "model": resolved.settings["model"],
            "training": resolved.training(chosen) | (more or {}),
            "optimizer": resolved.optimizer(settings) if changed is None else changed[1],
        }
        return self._made(arm, sections, settings, seeds, phase)

    def _made(
        self, arm: str, sections: dict, settings: dict, seeds: Sequence[int], phase: str
    ) -> list[Run]:
        """One run for each seed with these sections of its config."""
        sections = sections | {"training": _watched(sections["training"], phase)}
        folder = settings_name(sections, defaults_of(OPTIMIZERS[sections["optimizer"]["name"]]))
        keep = kept_weights(self.measure) if phase == REPORTING else KEEP_NOTHING
        return [
            Run(
                name=f"{folder}/{seed_name(seed, phase)}",
                study=self.name,
                arm=arm,
                seed=seed,
                phase=phase,
                settings=settings,
                config=sections | {"seed": seed, "phase": phase, "keep": keep},
            )
            for seed in seeds
        ]


@dataclass(frozen=True)
class Plan:
    """Everything that the rules need to know before anything is run."""

    name: str
    data: dict[str, dict]
    studies: dict[str, StudyPlan]
    estimate: dict[str, float]
    sources: Sources

    @property
    def data_used(self) -> list[str]:
        """Names of the data sets that at least one study uses."""
        used = [data for study in self.studies.values() for data in study.data_used]
        return list(dict.fromkeys(used))

    def data_of_kind(self, kind: str) -> list[str]:
        """Names of the data sets of one kind: images or text."""
        return [name for name, section in self.data.items() if KINDS[section["source"]] == kind]

    def place(self, *path: str) -> str:
        """How messages refer to a field: the file that sets it, and its dotted path."""
        return f"{self.sources.of(path)}: {'.'.join(path)}"


def load_plan(files: Iterable[str | Path], command_line: Mapping | None = None) -> Plan:
    """The plan that follows from the config files and from what the command line overrides.

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
        name=config.name,
        data={name: section.model_dump() for name, section in config.data.items()},
        studies=studies,
        estimate=config.estimate.model_dump(),
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
    check_arms_named(study, place, sources)
    kinds = {name: KINDS[section.source] for name, section in config.data.items()}
    arms = resolve_arms(study, place, sources, kinds)
    cells = resolve_factors(study, arms, place, sources, kinds)
    check_compared(study, arms, place, sources)
    check_evaluated(study, kind, place, sources)
    check_perturbed(study, arms, place, sources)
    check_sensitivity(study, arms, place, sources)
    for path, sentence in misfits(study.measure, arms, differences):
        refuse(sources, (*place, *path), sentence)
    return StudyPlan(
        name=key,
        title=study.title or name,
        protocol=protocol,
        data=study.data,
        kind=kind,
        seeds=study.seeds,
        tuning=study.tuning.model_dump(),
        measure=study.measure.model_dump(),
        robustness=study.robustness.model_dump() if study.robustness else None,
        sensitivity=study.sensitivity.model_dump() if study.sensitivity else None,
        arms=arms,
        factors={name: factor.model_dump() for name, factor in study.factors.items()},
        cells=cells,
    )


def _watched(training: dict, phase: str) -> dict:
    """The training section of a run. For runs that are not reported it leaves out the settings of
    observers, so that a change of those does not retrain tuning runs."""
    if phase == REPORTING:
        return training
    return {field: value for field, value in training.items() if field not in WATCHED}
