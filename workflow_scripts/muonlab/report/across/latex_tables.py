"""The tables of the thesis as LaTeX, and the figures as PDF beside them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from muonlab.declare import folder
from muonlab.report.across.thesis import refuse_mixed
from muonlab.report.documents.blocks import Grid, plain
from muonlab.report.documents.latex import escaped, latex
from muonlab.report.thesis.evidence import Study, read_studies
from muonlab.report.thesis.results import arms_table, claims_table, families_tables

EXAMPLE = r"""% All tables and figures of this folder, for a look: pdflatex example.tex
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{booktabs,array,longtable,graphicx}
\begin{document}
CONTENT
\end{document}
"""


@folder()
def latex_files(
    claims: pd.DataFrame,
    claims_overview_figure: Mapping[str, Path],
    name: str,
    facts: Mapping[str, dict],
    settings: Mapping[str, Mapping[str, Mapping]],
    study_tables: Mapping[str, Mapping[str, Path]],
    drawings: Mapping[str, Mapping[str, Path]],
) -> dict[str, str | Path]:
    """Each table as a file to `\\input`, the figures, and example.tex, which shows all of them."""
    studies = read_studies(facts, settings, study_tables)
    refuse_mixed(studies, name)
    tables = {"claims": claims_table(claims)}
    for study in studies.values():
        tables |= dict(_tables(study))
    files: dict[str, str | Path] = {f"{label}.tex": latex(grid) for label, grid in tables.items()}
    figures = {"claims": claims_overview_figure["pdf"]}
    figures |= {f"{study}_{n}": file for study, own in drawings.items() for n, file in own.items()}
    files |= {f"figures/{label}.pdf": file for label, file in figures.items()}
    shown = [rf"\input{{{label}}}" for label in tables]
    shown += [
        rf"\begin{{figure}}[p]\includegraphics[width=\linewidth]{{figures/{label}}}"
        rf"\caption{{{escaped(label)}}}\end{{figure}}\clearpage"
        for label in figures
    ]
    return files | {"example.tex": EXAMPLE.replace("CONTENT", "\n".join(shown))}


def _tables(study: Study) -> Iterator[tuple[str, Grid]]:
    yield f"{study.name}_arms", arms_table(study)
    for family, grid in families_tables(study):
        yield f"{study.name}_{family}", grid
    ranking = study.tables.get("ranking")
    if ranking is not None:
        columns = ["rank", "variant", "loss", "perplexity", "accuracy"]
        own = ranking[[c for c in columns if c in ranking]]
        rows = tuple(tuple(plain(_short(v)) for v in row) for row in own.itertuples(index=False))
        header = tuple(plain(c) for c in own)
        yield f"{study.name}_ranking", Grid(header, rows, plain(f"Ranking of {study.title}."))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
