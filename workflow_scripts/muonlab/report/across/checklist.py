"""The reproducibility checklist as a file of its own, which the package holds."""

import json
from collections.abc import Mapping
from pathlib import Path

from muonlab.declare import text
from muonlab.report.thesis.appendix import checklist
from muonlab.report.thesis.evidence import read_studies


@text(
    title="checklist",
    section="report",
    caption="What the records of *{name}* show of each point of the reproducibility checklist.",
)
def reproducibility(
    name: str,
    facts: Mapping[str, dict],
    settings: Mapping[str, Mapping[str, Mapping]],
    study_tables: Mapping[str, Mapping[str, Path]],
    data_digests: Mapping[str, Mapping[str, Path]],
) -> str:
    """Markdown: each point, and what the records show."""
    digests = {
        data: json.loads(path.read_text(encoding="utf-8"))
        for own in data_digests.values()
        for data, path in own.items()
    }
    points = checklist(read_studies(facts, settings, study_tables), digests)
    lines = [f"# Reproducibility of {name}", "", "| Point | What the records show |", "|---|---|"]
    lines += [f"| {point} | {found} |" for point, found in points]
    lines += [
        "",
        "`python verify.py`, where the package was unpacked, compares every file with the "
        "manifest, the code with the digest that each run recorded, and every table with one "
        "that is made anew from the records.",
    ]
    return "\n".join(lines) + "\n"
