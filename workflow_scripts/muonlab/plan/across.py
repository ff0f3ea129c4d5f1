"""What is made once for all studies of a configuration: claims, thesis, report page, LaTeX tables.

Their functions are declared in `report/across/`. A parameter names one of the values below, a group
of files, or a table; of files and tables each function gets a dictionary with an entry for each
study that has them.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError
from muonlab.plan.captions import caption
from muonlab.plan.claims import claim_records, claim_tables
from muonlab.plan.known import Known
from muonlab.plan.needs import Needs, value
from muonlab.plan.pairs import study_families
from muonlab.plan.registry import ACROSS, LIBRARY, Declaration, Registry, read_registry
from muonlab.plan.runs import Plan

PICTURES = ("svg", "png", "pdf")
# Tables of the studies that the thesis reads.
DOCUMENTED = ("contrasts", "summary", "runs", "anchor_checks", "convergence", "factorials")
DOCUMENTED += ("speed_up", "overhead", "waterfall", "ranking", "basins", "one_at_a_time")
THESIS = LIBRARY / "report" / "thesis"
EMBEDDED = ("digits", "stdlib")  # sources of data that stand in for those of the write-ups
Place = tuple[str, str, str]  # study, name, file


def study_facts(known: Known) -> dict:
    """`study_context`, and what a document says of a study besides: the name in the config, how it
    was tuned, and the families of its comparisons."""
    study = known.study
    tuned = study.tuned_arms
    return value("study", known) | {
        "base": base_of(known),
        "tuning": study.tuning,
        "spaces": {name: known.spaces.get(name, {}) for name in tuned},
        "trials": {name: len(known.trials[name]) for name in tuned},
        "families": study_families(study),
        "smallest": study.measure["contrasts"]["smallest_difference"],
        "levels": study.measure["levels"],
    }


def base_of(known: Known) -> str:
    """The name of a study in the config, without the protocol under which it runs."""
    return known.study.name.removesuffix(f"_{known.study.protocol}")


@cache
def _needs() -> Needs:
    return Needs("", read_registry())


def study_captions(known: Known) -> dict[str, dict[str, dict]]:
    """Title, section and caption of each of the figures and tables that a study has, by kind and
    name, where it has a title; a figure may have the name of a table."""
    registry, needs = read_registry(), _needs()
    found: dict[str, dict[str, dict]] = {}
    for kind in ("figures", "tables"):
        own = found.setdefault(kind, {})
        had = [m for m in getattr(registry, kind).values() if needs.has_all(m, known.study)]
        for made in had:
            for output in made.outputs:
                if output.title:
                    told = {"title": output.title, "section": made.section}
                    own[output.name] = told | {"caption": caption(output, known)}
    return found


def other_sizes(name: str) -> list[dict]:
    """The claims of other configurations that have been run: name, file and a digest of the file,
    by which the job runs again after it has changed. None is required."""
    found = []
    for file in sorted(Path("results").glob("*/claims.csv")):
        if file.parent.name != name:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
            found.append({"name": file.parent.name, "file": str(file), "digest": digest})
    return found


# Values, each a function of the plan and of what is known about each study.
VALUES: dict[str, Callable[[Plan, Mapping[str, Known]], Any]] = {
    "name": lambda plan, known: plan.name,
    "template": lambda plan, known: (THESIS / "template.typ").read_text(encoding="utf-8"),
    "references": lambda plan, known: (THESIS / "references.bib").read_text(encoding="utf-8"),
    "claim_rules": lambda plan, known: claim_records(),
    "facts": lambda plan, known: {
        name: study_facts(k) | {"embedded": plan.data[k.study.data]["source"] in EMBEDDED}
        for name, k in known.items()
    },
    "captions": lambda plan, known: {name: study_captions(k) for name, k in known.items()},
    "settings": lambda plan, known: {n: value("arm_settings", k) for n, k in known.items()},
    "other_sizes": lambda plan, known: other_sizes(plan.name),
    "sources_of_data": lambda plan, known: {name: plan.data[name] for name in plan.data_used},
}

FRESH = {"other_sizes"}  # values that depend on files which may change meanwhile


@dataclass
class AcrossGiven:
    """What a job is given, by the names of its needs.

    `by_study` says of a need of files how it is read (`read`: "own", a table or paths of all
    studies; "tables", one table of each study; "paths") and lists the study and the name of each
    file, in the order of the files (`places`).
    """

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    by_study: dict[str, dict[str, Any]] = field(default_factory=dict)


class Across:
    """The outputs of all studies together, in results/<the plan's name>/."""

    def __init__(self, plan: Plan, needs: Needs, studies: Registry, own: Registry | None = None):
        self.plan, self.needs, self.studies = plan, needs, studies
        self.registry = own or read_registry(folders=ACROSS)
        self.root = f"results/{plan.name}"
        self._values: dict[tuple, Any] = {}

    # Files

    def table_files(self, made: Declaration) -> dict[str, str]:
        return {output.name: f"{self.root}/{output.name}.csv" for output in made.outputs}

    def text_file(self, made: Declaration) -> str:
        return f"{self.root}/{made.name.removesuffix('_page')}.{made.suffix}"

    def figure_files(self, made: Declaration) -> dict[str, str]:
        return {suffix: f"{self.root}/{made.name}.{suffix}" for suffix in PICTURES}

    def files(self) -> list[str]:
        """Everything that is declared, except folders."""
        found = [
            f for made in self.registry.tables.values() for f in self.table_files(made).values()
        ]
        for made in self.registry.figures.values():
            found += self.figure_files(made).values()
        return found + [self.text_file(made) for made in self.registry.texts.values()]

    def table_jobs(self, outputs: Any, known: Mapping[str, Known]) -> list[dict]:
        """How each table was made, of each study and of all of them: function, values, inputs and
        outputs, for a script that makes them anew. `outputs` is `plan.outputs.Outputs`."""
        found = []
        for study, own in known.items():
            for made in self._outputs("tables", own):
                given = outputs.given(made, own)
                job = outputs.job(made, own)
                job["inputs"] = {name: list(map(str, f)) for name, f in given.files.items()}
                job["inputs"] |= {name: list(map(str, f)) for name, f in given.ancient.items()}
                folder = f"{self.root}/{study}/tables"
                job["outputs"] = {o.name: f"{folder}/{o.name}.csv" for o in made.outputs}
                found.append(job)
        for made in self.registry.tables.values():
            job = self.job(made, known)
            job["inputs"] = self.given(made, known).files
            found.append(job | {"outputs": self.table_files(made)})
        return [{k: v for k, v in job.items() if k != "captions"} for job in found]

    def folder(self, made: Declaration) -> str:
        return f"{self.root}/{made.name.removesuffix('_files')}"

    @property
    def thesis(self) -> list[str]:
        """The thesis, and the folders beside it."""
        folders = [self.folder(made) for made in self.registry.folders.values()]
        return [f"{self.root}/thesis.pdf", *folders]

    # Inputs and params of jobs

    def given(self, made: Declaration, known: Mapping[str, Known]) -> AcrossGiven:
        given = AcrossGiven()
        for name in (*made.needs, *made.optional):
            if name in VALUES:
                given.values[name] = self._value(name, known)
            else:
                read, found = self._files(name, known)
                given.files[name] = [file for _, _, file in found]
                places = [[study, label] for study, label, _ in found]
                given.by_study[name] = {"read": read, "places": places}
        return given

    def job(self, made: Declaration, known: Mapping[str, Known]) -> dict[str, Any]:
        """The job's param, without its code digest: plain values in a fixed order."""
        given = self.given(made, known)
        words = {"name": self.plan.name, "data": ", ".join(self.plan.data_used)}
        return {
            "make": made.function,
            "needs": [*made.needs, *made.optional],
            "values": given.values,
            "of": {},
            "by_study": given.by_study,
            "captions": {
                output.name: output.caption.format(**words)
                for output in made.outputs
                if output.caption
            },
        }

    def _value(self, name: str, known: Mapping[str, Known]) -> Any:
        """A value; most follow from the plan and from what is known, and are computed once."""
        if name in FRESH:
            return VALUES[name](self.plan, known)
        state = (name, *known.values())
        if state not in self._values:
            self._values[state] = VALUES[name](self.plan, known)
        return self._values[state]

    def _files(self, name: str, known: Mapping[str, Known]) -> tuple[str, list[Place]]:
        """How a need is read, and (study, name, file) for each of its files."""
        if name in self._own_tables():
            return "own", [("", name, f"{self.root}/{name}.csv")]
        if (figure := name.removesuffix("_figure")) in self.registry.figures:
            return "own", [("", s, f"{self.root}/{figure}.{s}") for s in PICTURES]
        if name in GROUPS:
            places = [found for study, k in known.items() for found in GROUPS[name](self, study, k)]
            return "paths", places
        table = name.removesuffix("_tables")
        made = self.studies.table_of(table)
        if made is None:
            raise UserError(
                f"{name!r} is not something that an output of all studies can ask for: it is "
                f"neither a value ({', '.join(VALUES)}) nor files ({', '.join(GROUPS)}), and no "
                "table of a study has that name"
            )
        return "tables", [
            (study, table, f"{self.root}/{study}/tables/{table}.csv")
            for study, k in known.items()
            if self.needs.has_all(made, k.study)
        ]

    def _own_tables(self) -> set[str]:
        return {output.name for made in self.registry.tables.values() for output in made.outputs}

    def _outputs(self, kind: str, study: Known) -> list[Declaration]:
        made = getattr(self.studies, kind).values()
        return [one for one in made if self.needs.has_all(one, study.study)]


def _figures(suffix: str) -> Callable:
    def files(across: Across, study: str, known: Known) -> list[Place]:
        return [
            (study, made.name, f"{across.root}/{study}/figures/{made.name}.{suffix}")
            for made in across._outputs("figures", known)
        ]

    return files


def _texts(across: Across, study: str, known: Known) -> list[Place]:
    made = across._outputs("texts", known)
    return [(study, one.name, f"{across.root}/{study}/{one.name}.{one.suffix}") for one in made]


def _shown_tables(across: Across, study: str, known: Known) -> list[Place]:
    """The tables that have a title, and so a reader."""
    return [
        (study, output.name, f"{across.root}/{study}/tables/{output.name}.csv")
        for made in across._outputs("tables", known)
        for output in made.outputs
        if output.title
    ]


def _claim_tables(across: Across, study: str, known: Known) -> list[Place]:
    """The tables by which claims are tested, as far as the study has them."""
    found = []
    for table in claim_tables().get(base_of(known), ()):
        made = across.studies.table_of(table)
        if made and across.needs.has_all(made, known.study):
            found.append((study, table, f"{across.root}/{study}/tables/{table}.csv"))
    return found


def _study_tables(across: Across, study: str, known: Known) -> list[Place]:
    """The tables that a document on all studies reads, as far as the study has them."""
    return [
        (study, name, f"{across.root}/{study}/tables/{name}.csv")
        for name in DOCUMENTED
        if (made := across.studies.table_of(name)) and across.needs.has_all(made, known.study)
    ]


def _first_run(across: Across, study: str, known: Known) -> list[Place]:
    run = known.reporting_runs[0]
    return [(study, run.name, f"{across.root}/runs/{run.name}/run.json")]


def _data_digest(across: Across, study: str, known: Known) -> list[Place]:
    data = known.study.data
    return [(study, data, f"{across.root}/data/{data}/digest.json")]


GROUPS: dict[str, Callable] = {
    "pictures": _figures("png"),
    "drawings": _figures("pdf"),
    "texts": _texts,
    "shown_tables": _shown_tables,
    "claim_tables": _claim_tables,
    "study_tables": _study_tables,
    "first_runs": _first_run,
    "data_digests": _data_digest,
}
