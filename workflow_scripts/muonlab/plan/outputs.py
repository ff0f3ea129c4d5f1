"""What each study makes: its output files, the inputs of each, and the params of the jobs.

The rules get all of this from here. `Outputs` works without Snakemake: from what is known about a
study and from the registry it computes plain lists and dictionaries.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from muonlab.io.errors import UserError
from muonlab.plan.across import PICTURES
from muonlab.plan.captions import caption
from muonlab.plan.datasets import KINDS
from muonlab.plan.duration import train_minutes
from muonlab.plan.known import Known
from muonlab.plan.memory import train_megabytes
from muonlab.plan.needs import Given, Needs, is_measured
from muonlab.plan.registry import Declaration, Registry, read_registry
from muonlab.plan.runs import Plan, StudyPlan

SPLITS = ("train", "validation", "test")
# Files of a prepared data set beside digest.json, for each split.
SPLIT_FILES = {"images": ("{split}.safetensors",), "text": ("{split}.tokens", "{split}.offsets")}


class Outputs:
    """The outputs of a plan's studies, in results/<the plan's name>/."""

    def __init__(self, plan: Plan, registry: Registry | None = None):
        self.plan, self.registry = plan, registry or read_registry()
        self.root = f"results/{plan.name}"
        self.needs = Needs(self.root, self.registry)
        for study in plan.studies.values():
            self._check_measurements(study)

    def _check_measurements(self, study: StudyPlan) -> None:
        """Raises UserError if a study asks for a measurement that nothing declares."""
        for name in study.measure["also"]:
            if name not in self.registry.measurements:
                known = ", ".join(sorted(self.registry.measurements))
                place = self.plan.place("studies", study.name, "measure", "also")
                raise UserError(f"{place}: {name!r} is not a measurement (there are {known})")

    # Which studies have which outputs

    def having(self, made: Declaration) -> list[str]:
        """Names of the studies that have the output of a declared function."""
        return [name for name, study in self.plan.studies.items() if self.has(made, study)]

    def has(self, made: Declaration, study: StudyPlan) -> bool:
        if made.kind == "measurement":
            return is_measured(made.name, study)
        return self.needs.has_all(made, study)

    def _own(self, made: Mapping[str, Declaration], study: str) -> list[Declaration]:
        return [one for one in made.values() if self.has(one, self.plan.studies[study])]

    # Files

    def tables(self, study: str) -> list[str]:
        return [
            f"{self.root}/{study}/tables/{output.name}.csv"
            for made in self._own(self.registry.tables, study)
            for output in made.outputs
        ]

    def figures(self, study: str) -> list[str]:
        return [
            f"{self.root}/{study}/figures/{made.name}.{suffix}"
            for made in self._own(self.registry.figures, study)
            for suffix in PICTURES
        ]

    def texts(self, study: str) -> list[str]:
        own = self._own(self.registry.texts, study)
        return [f"{self.root}/{study}/{made.name}.{made.suffix}" for made in own]

    def selection(self, study: str) -> list[str]:
        return [f"{self.root}/{study}/tuning/selection.json"]

    def results(self, study: str) -> list[str]:
        """All files that a study makes for its reader: selection, tables, figures and texts."""
        return [
            *self.selection(study),
            *self.tables(study),
            *self.figures(study),
            *self.texts(study),
        ]

    def records(self, known: Known) -> list[str]:
        """The file run.json, written last, of every run of a study.

        The targets request the runs as well as the results. Otherwise Snakemake would not notice a
        missing run if all results that were made from it exist.
        """
        runs = known.tuning_runs + (known.later_runs if known.is_chosen else [])
        return [f"{self.root}/runs/{run.name}/run.json" for run in runs]

    def trial_records(self, known: Known) -> list[str]:
        return [f"{self.root}/runs/{run.name}/run.json" for run in known.tuning_runs]

    def measurements(self, known: Known, names: Iterable[str] | None = None) -> list[str]:
        """The files of the measurements on a study's reporting runs.

        `names` restricts them to some measurements; without it, the profile of the overhead is
        included, too.
        """
        study = known.study
        found = [
            file
            for made in self._own(self.registry.measurements, study.name)
            if names is None or made.name in names
            for file in self.needs.measured_files(made, known)
        ]
        if names is None and study.measure["overhead"]:
            found.append(f"{self.root}/{study.name}/overhead/profile.json")
        return found

    def data_files(self, dataset: str, splits: Iterable[str] = SPLITS) -> list[str]:
        """The large files of a prepared data set."""
        kind = KINDS[self.plan.data[dataset]["source"]]
        return [
            f"{self.root}/data/{dataset}/{file.format(split=split)}"
            for split in splits
            for file in SPLIT_FILES[kind]
        ]

    def profiled_runs(self, known: Known) -> list[str]:
        """run.json of the two arms whose steps are profiled, each with the study's first seed."""
        arms, seed = known.study.measure["overhead"]["arms"], str(known.study.seeds[0])
        return [f"{self.root}/runs/{known.reporting_run(a, seed).name}/run.json" for a in arms]

    @staticmethod
    def place(made: Declaration) -> str:
        """The path pattern of a measurement's files inside its folder."""
        return "{arm}" if made.of == "arm" else "{arm}/seed-{seed}"

    # Inputs and params of jobs

    def given(self, made: Declaration, known: Known) -> Given:
        """Values and files for one table, figure or text of a study."""
        return self.needs.give(self.needs.of(made, known.study), known)

    def job(self, made: Declaration, known: Known) -> dict[str, Any]:
        """The job's param, without its code digest: plain values in a fixed order."""
        given = self.given(made, known)
        return {
            "make": made.function,
            "needs": self.needs.of(made, known.study),
            "values": given.values,
            "of": given.of,
            "captions": {
                output.name: caption(output, known) for output in made.outputs if output.caption
            },
        }

    def measure_job(self, made: Declaration, known: Known) -> dict[str, Any]:
        """The param of a measurement's job, without its code digest and its seeds."""
        settings = known.study.measure.get(made.name)
        return {
            "make": made.function,
            "settings": settings if isinstance(settings, dict) else {},
            "along": known.study.measure["along"] if "places" in made.needs else None,
            "split": made.split,
        }

    def memory(self, config: dict) -> int:
        """How many megabytes of memory the training of a run requests."""
        return train_megabytes(config, self.plan.data[config["data"]])

    def minutes(self, config: dict, gpu: bool) -> int:
        """How many minutes the training of a run requests."""
        return train_minutes(config, self.plan.data[config["data"]], gpu)

    @cache  # noqa: B019 (there is one plan in a process)
    def most_memory(self) -> int:
        """The megabytes of the run of this plan that requests most."""
        return max(self.memory(config) for config in self._largest())

    @cache  # noqa: B019
    def most_minutes(self, gpu: bool) -> int:
        """The minutes of the run of this plan that requests most."""
        return max(self.minutes(config, gpu) for config in self._largest())

    def _largest(self) -> Iterator[dict]:
        """The settings of every arm, with its data set; tuning changes neither size nor length."""
        for study in self.plan.studies.values():
            for arm in study.arms.values():
                yield arm.settings
