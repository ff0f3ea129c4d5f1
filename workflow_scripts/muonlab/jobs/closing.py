"""What a finished workflow says on the console: findings, their warnings, and where they are."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

WIDTH = 100
WARNING = "Warning:"
DOCUMENTS = {"report.html": "Report", "thesis.pdf": "Thesis"}


def closing(root: Path, titles: Mapping[str, str]) -> str:
    """The findings in the results folder `root`; `titles` are those of the studies, by name."""
    said = []
    for study, title in titles.items():
        findings = root / study / "findings.md"
        if findings.exists():
            said.append(f"{study}: {title} ({findings})")
            said += _wrapped(opening(findings.read_text(encoding="utf-8")))
    claims = root / "claims.md"
    if claims.exists():
        _, answer, *_ = claims.read_text(encoding="utf-8").split("\n\n")
        said += [f"Claims ({claims})", *_wrapped([plain(answer)])]
    said += [f"{name}: {root / file}" for file, name in DOCUMENTS.items() if (root / file).exists()]
    return "\n".join(said)


def opening(findings: str) -> Iterator[str]:
    """The answer at the head of a findings file, and its warnings, as plain sentences."""
    answer, _, rest = findings.partition("\n\n")
    for line in answer.splitlines():
        yield plain(line.removeprefix("- "))
    for line in rest.splitlines():
        sentence = plain(line)
        if sentence.startswith(WARNING):
            yield sentence


def plain(markdown: str) -> str:
    """A line without the marks of bold, italic and code."""
    return re.sub(r"\*(\S|\S[^*]*\S)\*", r"\1", re.sub(r"\*\*|`", "", markdown))


def _wrapped(lines: Iterable[str]) -> list[str]:
    return [
        textwrap.fill(line, WIDTH, initial_indent="  - ", subsequent_indent="    ")
        for line in lines
    ]
