"""The thesis as Typst: every number and every sentence on a finding is computed from records."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from muonlab.declare import text
from muonlab.io.errors import UserError
from muonlab.report.documents.blocks import Block
from muonlab.report.documents.typst import cite_keys, string, typst
from muonlab.report.thesis import appendix, frame, methods
from muonlab.report.thesis import results as chapters
from muonlab.report.thesis.evidence import Study, read_studies
from muonlab.report.thesis.questions import questions

TITLE = "Muon against AdamW"
SUBTITLE = "What survives of the published claims under one fair protocol"


@text(
    title="thesis",
    section="report",
    caption="The thesis on *{name}* as Typst; thesis.pdf is made from it.",
    suffix="typ",
)
def thesis(
    claims: pd.DataFrame,
    claims_overview_figure: Mapping[str, Path],
    name: str,
    template: str,
    references: str,
    facts: Mapping[str, dict],
    settings: Mapping[str, Mapping[str, Mapping]],
    captions: Mapping[str, dict],
    study_tables: Mapping[str, Mapping[str, Path]],
    drawings: Mapping[str, Mapping[str, Path]],
    texts: Mapping[str, Mapping[str, Path]],
    first_runs: Mapping[str, Mapping[str, Path]],
    data_digests: Mapping[str, Mapping[str, Path]],
) -> str:
    """Raises UserError if the runs of one arm were trained by different versions of the code."""
    studies = read_studies(facts, settings, study_tables)
    refuse_mixed(studies, name)
    asked = questions(studies)
    place, keys = _from(Path("results") / name), cite_keys(references)
    body: list[Iterable[Block]] = [
        frame.introduction(claims),
        frame.related_work(),
        methods.methodology(studies),
        chapters.results(studies, drawings, captions),
        chapters.component_analysis(studies, drawings, captions, asked[3].evidence),
        chapters.claims_chapter(claims, claims_overview_figure["pdf"], studies),
        frame.discussion(studies, claims),
        frame.conclusion(asked, claims),
    ]
    after: list[Iterable[Block]] = [
        appendix.appendix(studies, first_runs, data_digests),
        _titled("All claims", chapters.full_claims(claims)),
        appendix.statistical_report(texts),
    ]
    opening = typst(frame.abstract(studies, claims, asked), place, keys)
    parts = [
        template,
        f"#show: thesis.with({_arguments(name, studies)}, abstract: [{opening}])",
        *(typst(blocks, place, keys) for blocks in body),
        f'#bibliography(bytes({string(references)}), title: "Bibliography", style: "ieee")',
        '#set heading(numbering: "A.1")\n#counter(heading).update(0)',
        *(typst(blocks, place, keys) for blocks in after),
    ]
    return "\n\n".join(parts) + "\n"


def refuse_mixed(studies: Mapping[str, Study], name: str) -> None:
    """Raises UserError for an arm whose runs are of different code: they cannot be compared."""
    for study in studies.values():
        for arm, versions in appendix.mixed_arms(study.tables["runs"]).items():
            raise UserError(
                f"results/{name}/{study.name}: the runs of the arm {arm} were trained by "
                f"{len(versions)} versions of the code ({', '.join(versions)}), so the thesis "
                f"cannot be built from them; train them again with snakemake --forcerun train_run "
                f"{study.name}"
            )


def _arguments(name: str, studies: Mapping[str, Study]) -> str:
    runs = sum(len(study.tables["runs"]) for study in studies.values())
    data = ", ".join(dict.fromkeys(study.facts["data"] for study in studies.values()))
    told = [
        f"Configuration: {name}",
        f"Data: {data}",
        f"Reported runs: {runs}",
        "Computed from records; the appendix names code, data and environment.",
    ]
    listed = ", ".join(f"text({string(fact)})" for fact in told)
    return f"title: {string(TITLE)}, subtitle: {string(SUBTITLE)}, facts: ({listed},)"


def _titled(title: str, blocks: Iterable[Block]) -> Iterable[Block]:
    yield frame.chapter(title)
    yield from blocks


def _from(folder: Path) -> Callable[[Path], str]:
    """Pictures are named from the folder of the document."""
    return lambda file: file.relative_to(folder).as_posix()
