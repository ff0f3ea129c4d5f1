"""The appendix: the reproducibility checklist with what the records show, the environment, digests,
and the statistical report."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from muonlab.report.documents.blocks import Block, Grid, Heading, escaped, grid, parsed, plain
from muonlab.report.thesis.evidence import Study
from muonlab.report.thesis.frame import chapter, paragraph

MOST_COLUMNS = 9  # of a table that can be read on a page
PACKAGES = ("python", "torch", "numpy", "scipy", "pandas", "matplotlib", "snakemake")


def checklist(studies: Mapping[str, Study], digests: Mapping[str, dict]) -> list[tuple[str, str]]:
    """Each point of the checklist, and what the records show of it."""
    runs = {name: study.tables["runs"] for name, study in studies.items()}
    total = sum(len(table) for table in runs.values())
    lost = sum(int(table.diverged.sum()) for table in runs.values())
    paired = [bool(study.facts["training"]["paired"]) for study in studies.values()]
    apart = all(
        not set(study.facts["seeds"]) & set(study.facts["tuning"]["seeds"])
        for study in studies.values()
        if study.is_fair
    )
    budgets = [_budgets(study) for study in studies.values() if study.is_fair]
    mixed = sum(len(mixed_arms(table)) for table in runs.values())
    edges = sum(
        bool(arm["edges"]) and arm["tuned"]
        for study in studies.values()
        for arm in study.facts["arms"]
    )
    checks = [t for s in studies.values() if (t := s.tables.get("anchor_checks")) is not None]
    passed = sum(int((table.result == "pass").sum()) for table in checks)
    failed = sum(int((table.result == "fail").sum()) for table in checks)
    return [
        ("Code of every run recorded", f"yes, {total} of {total} runs have a digest"),
        ("One version of the code for each arm", "yes" if not mixed else f"no, {mixed} arms mixed"),
        ("Data described by digests", f"yes, {len(digests)} data sets"),
        ("Tuning seeds are not reported", "yes" if apart else "no"),
        ("Equal tuning budgets", "yes" if all(budgets) else "no"),
        ("Runs paired by seed", f"in {sum(paired)} of {len(paired)} studies"),
        ("Runs that diverged", f"{lost} of {total}, all kept"),
        ("Settings on an edge of the search", f"{edges}"),
        ("Anchor checks", f"{passed} pass, {failed} fail"),
        ("Smallest differences declared", _declared(studies)),
    ]


def mixed_arms(runs) -> dict[str, list[str]]:
    """The arms whose runs were trained by more than one version of the code, with the versions."""
    found = {}
    for arm, own in runs.groupby("arm", sort=False):
        versions = sorted(set(own.code_digest.fillna("unknown")))
        if len(versions) > 1:
            found[arm] = versions
    return found


def appendix(
    studies: Mapping[str, Study],
    first_runs: Mapping[str, Mapping[str, Path]],
    data_digests: Mapping[str, Mapping[str, Path]],
) -> Iterator[Block]:
    digests = {
        data: json.loads(path.read_text(encoding="utf-8"))
        for own in data_digests.values()
        for data, path in own.items()
    }
    yield chapter("Reproducibility")
    yield Heading(2, plain("Checklist"))
    yield grid(("Point", "What the records show"), checklist(studies, digests))
    yield Heading(2, plain("Environment"))
    rows = []
    for study, own in first_runs.items():
        for path in own.values():
            provenance = json.loads(path.read_text(encoding="utf-8"))["provenance"]
            rows.append((escaped(studies[study].title), escaped(_environment(provenance))))
    yield grid(("Study", "Packages and machine of its first run"), rows)
    yield Heading(2, plain("Code"))
    rows = []
    for study in studies.values():
        runs = study.tables["runs"]
        for kind, label in (("code_digest", "training"), ("observer_digest", "observers")):
            versions = runs[kind].fillna("unknown").value_counts(sort=False)
            told = ", ".join(f"{version} ({count} runs)" for version, count in versions.items())
            rows.append((escaped(study.title), label, escaped(told)))
    yield paragraph(
        "Arms with different optimizers run different code, so a study has a digest for each; "
        "the runs of one arm share theirs."
    )
    yield grid(("Study", "Code", "Digests"), rows)
    yield Heading(2, plain("Data"))
    rows = [(escaped(name), escaped(_data(digest))) for name, digest in digests.items()]
    yield grid(("Data set", "Splits and digests"), rows)


def statistical_report(texts: Mapping[str, Mapping[str, Path]]) -> Iterator[Block]:
    """The studies' own findings, as they are."""
    yield chapter("Statistical report")
    yield paragraph("What follows are the findings that each study writes from its tables.")
    for study, own in texts.items():
        for name, path in own.items():
            yield Heading(2, plain(f"{study}: {name}"))
            for block in parsed(path.read_text(encoding="utf-8")):
                if isinstance(block, Grid) and len(block.header) > MOST_COLUMNS:
                    yield paragraph(
                        f"(A table with {len(block.header)} columns is in {study}/{name}.md.)"
                    )
                else:
                    yield Heading(3, block.text) if isinstance(block, Heading) else block


def _budgets(study: Study) -> bool:
    """Whether all arms that are searched alike had as many trials."""
    alone = {arm["name"] for arm in study.facts["arms"] if arm.get("alone")}
    return len({n for arm, n in study.facts["trials"].items() if arm not in alone}) <= 1


def _declared(studies: Mapping[str, Study]) -> str:
    own = [study for study in studies.values() if study.is_fair]
    return f"in {sum(bool(study.facts['smallest']) for study in own)} of {len(own)} studies"


def _environment(provenance: Mapping) -> str:
    packages = provenance.get("packages", {})
    told = [f"{name} {packages[name]}" for name in PACKAGES if name in packages]
    told += [f"{name} {provenance[name]}" for name in ("python", "platform") if name in provenance]
    told.append(f"device {provenance.get('device', 'unknown')}")
    return ", ".join(dict.fromkeys(told))


def _data(digest: Mapping) -> str:
    parts = []
    for split, facts in digest.get("splits", {}).items():
        size = facts.get("examples") or facts.get("tokens") or ""
        sha = str(facts.get("sha256", ""))[:16]
        parts.append(f"{split} {size:,} ({sha})" if isinstance(size, int) else f"{split} ({sha})")
    return "; ".join(parts)
