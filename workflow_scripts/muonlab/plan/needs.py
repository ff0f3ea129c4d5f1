"""The needs that outputs can name: for records and tables, their files and which studies have them.

Needs that are plain values are listed in `values`. A name that is neither there nor here is taken
for the name of a table. The files are read elsewhere (`report.given`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.registry import Declaration, Registry
from muonlab.plan.runs import StudyPlan
from muonlab.plan.values import VALUES

TABLE = "_table"  # suffix for a table whose bare name already means something else
RECORDS = "_records"  # suffix for the records of a measurement


def watched(field: str) -> Callable[[StudyPlan], bool]:
    """A test of whether `field` (for example geometry_every) is set for all arms of a study, so
    that all its reporting runs have the observer's records."""
    return lambda study: all(arm.settings["training"][field] for arm in study.arms.values())


def has_experts(study: StudyPlan) -> bool:
    experts = all(arm.settings["model"].get("experts") for arm in study.arms.values())
    return experts and watched("components_every")(study)


def has_layers(study: StudyPlan) -> bool:
    """Whether the geometry of a model with layers is recorded."""
    layers = all(arm.settings["model"].get("layers") for arm in study.arms.values())
    return layers and watched("geometry_every")(study)


class RunFiles(NamedTuple):
    """One file from each of several runs.

    `of` is the value that lists the runs, and `file` is a path in a run's folder. A file in
    `records` is declared to Snakemake as that whole folder. `has` says whether a study has the
    file.
    """

    of: str
    file: str
    has: Callable[[StudyPlan], Any] = lambda study: True


RUN_FILES: dict[str, RunFiles] = {
    "metrics": RunFiles("runs", "metrics.parquet"),
    "summaries": RunFiles("runs", "run.json"),
    "provenances": RunFiles("runs", "run.json"),
    "geometry_records": RunFiles("runs", "records/geometry.parquet", watched("geometry_every")),
    "layer_geometry_records": RunFiles("runs", "records/geometry.parquet", has_layers),
    "gradient_records": RunFiles(
        "main_runs",
        "records/gradients.parquet",
        lambda study: has_layers(study) and watched("components_every")(study),
    ),
    "layer_component_records": RunFiles(
        "main_runs",
        "records/components.parquet",
        lambda study: has_layers(study) and watched("components_every")(study),
    ),
    "component_records": RunFiles(
        "runs", "records/components.parquet", watched("components_every")
    ),
    "main_component_records": RunFiles(
        "main_runs", "records/components.parquet", watched("components_every")
    ),
    "expert_records": RunFiles("runs", "records/components.parquet", has_experts),
    "grid_summaries": RunFiles("grid_runs", "run.json", lambda study: study.sensitivity),
    "factor_summaries": RunFiles("factor_runs", "run.json", lambda study: study.factors),
    "changed_summaries": RunFiles("changed", "run.json", lambda study: study.robustness),
    "overhead_metrics": RunFiles(
        "overhead_runs", "metrics.parquet", lambda study: study.measure["overhead"]
    ),
    "overhead_summaries": RunFiles(
        "overhead_runs", "run.json", lambda study: study.measure["overhead"]
    ),
    "overhead_provenances": RunFiles(
        "overhead_runs", "run.json", lambda study: study.measure["overhead"]
    ),
}
STUDY_FILES: dict[str, RunFiles] = {
    "selection": RunFiles("", "tuning/selection.json"),
    "profile": RunFiles("", "overhead/profile.json", lambda study: study.measure["overhead"]),
}
DATA_FACTS = "data_facts"


@dataclass
class Given:
    """What a job is given, by the names of its needs.

    `values` are passed by value and `files` as inputs. `ancient` files must exist, but their time
    stamps are ignored, since another input shows whether they changed. `of` gives, for the files of
    runs, the name of the value that lists these runs.
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    ancient: dict[str, list[str]] = field(default_factory=dict)
    of: dict[str, str] = field(default_factory=dict)


class Needs:
    """Finds what a need stands for by its name, in the results folder `root`."""

    def __init__(self, root: str, registry: Registry):
        self.root, self.registry = PurePosixPath(root), registry
        self._has: dict[tuple[str, StudyPlan], bool] = {}

    def has(self, name: str, study: StudyPlan) -> bool:
        """Whether a study has the need `name`. Raises UserError if there is no such need."""
        if (name, study) not in self._has:
            self._has[name, study] = self._find(name, study)
        return self._has[name, study]

    def _find(self, name: str, study: StudyPlan) -> bool:
        if name in VALUES:
            return bool(VALUES[name].has(study))
        for files in (RUN_FILES, STUDY_FILES):
            if name in files:
                return bool(files[name].has(study))
        if name == DATA_FACTS:
            return True
        if measured := self._measurement(name):
            return is_measured(measured.name, study)
        return self.has_all(self._table(name)[1], study)

    def has_all(self, made: Declaration, study: StudyPlan) -> bool:
        """Whether a study has everything that a declared function needs."""
        return all(self.has(name, study) for name in made.needs)

    def of(self, made: Declaration, study: StudyPlan) -> list[str]:
        """The names of the needs that a declared function is given in this study."""
        return [*made.needs, *(name for name in made.optional if self.has(name, study))]

    def give(self, names: list[str], known: Known) -> Given:
        """The values and files that these names stand for, each once."""
        given = Given()
        for name in dict.fromkeys(names):
            self._add(name, known, given)
        return given

    def _add(self, name: str, known: Known, given: Given) -> None:
        study = known.study
        if name in VALUES:
            given.values[name] = value(name, known)
        elif name in RUN_FILES:
            self._add_run_files(name, known, given)
        elif name in STUDY_FILES:
            given.files[name] = [self.study_file(study.name, STUDY_FILES[name].file)]
        elif name == DATA_FACTS:
            given.files[name] = [f"{self.root}/data/{study.data}/digest.json"]
        elif measured := self._measurement(name):
            given.files[name] = self.measured_files(measured, known)
            given.of[name] = "runs" if measured.of == "run" else "arms"
            given.values.setdefault("runs", value("runs", known))
        else:
            given.files[name] = [self.study_file(study.name, f"tables/{self._table(name)[0]}.csv")]

    def _add_run_files(self, name: str, known: Known, given: Given) -> None:
        of, file, _ = RUN_FILES[name]
        runs = given.values.setdefault(of, value(of, known))
        folders = [f"{self.root}/runs/{run['run']}" for run in runs]
        given.of[name] = of
        if file.startswith("records/"):
            given.ancient[name] = [f"{folder}/records" for folder in folders]
            given.files[f"{name}_state"] = [f"{folder}/run.json" for folder in folders]
        else:
            given.files[name] = [f"{folder}/{file}" for folder in folders]

    def measured_files(self, made: Declaration, known: Known) -> list[str]:
        """The files of a measurement: one for each reporting run, or for each arm."""
        if made.of == "arm":
            places = list(known.study.arms)
        else:
            places = [f"{run.arm}/seed-{run.seed}" for run in known.reporting_runs]
        return [self.study_file(known.study.name, f"{made.name}/{p}.parquet") for p in places]

    def study_file(self, study: str, file: str) -> str:
        return f"{self.root}/{study}/{file}"

    def _measurement(self, name: str) -> Declaration | None:
        measured = name.removesuffix(RECORDS)
        return None if measured == name else self.registry.measurements.get(measured)

    def _table(self, name: str) -> tuple[str, Declaration]:
        for output in (name, name.removesuffix(TABLE)):
            if made := self.registry.table_of(output):
                return output, made
        measured = [measurement + RECORDS for measurement in self.registry.measurements]
        records = ", ".join([*RUN_FILES, *STUDY_FILES, DATA_FACTS, *measured])
        raise UserError(
            f"{name!r} is not something that a table, figure or text can ask for: it is not a "
            f"value ({', '.join(VALUES)}), not records ({records}) and not a table"
        )


def is_measured(name: str, study: StudyPlan) -> bool:
    """Whether a measurement is made on the reporting runs of a study."""
    if name == "direction" and study.measure["ranking"]:
        return True
    return bool(study.measure.get(name)) or name in study.measure["also"]


def value(name: str, known: Known) -> Any:
    """A plain value, computed once for all the jobs that ask for it."""
    if name not in known.values:
        known.values[name] = VALUES[name].of(known)
    return known.values[name]
