"""Keeps tables, findings and figures of finished studies in docs/results/, and shows them.

python docs/refresh.py mini               all studies of results/mini/ that are finished
python docs/refresh.py published fashion  one study of results/published/

Nothing is written by hand: docs/results/README.md and the README's findings are computed from the
tables that are kept, and a test repeats that.
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "workflow_scripts"))

from muonlab.plan.captions import percent  # noqa: E402
from muonlab.plan.claims import claim_records, claim_tables  # noqa: E402
from muonlab.plan.runs import load_plan  # noqa: E402
from muonlab.report.across.claims import claims_table  # noqa: E402
from muonlab.report.across.claims_text import claims_page  # noqa: E402
from muonlab.report.headline import Kept, headline  # noqa: E402

KEPT = ROOT / "docs" / "results"
# The overlays of each size, largest size first: the front page speaks of the largest.
OVERLAYS = {
    "published": ["studies/{study}.yaml"],
    "small": ["studies/small.yaml"],
    "replication": ["studies/small.yaml", "studies/replication.yaml"],
    "mini": [],
}
SIZES = {
    "published": "at the published size",
    "small": "at small size",
    "replication": "at small size, on new seeds",
    "mini": "at mini size, by the default configuration",
}
STUDIES = ["fashion", "moe", "ablation", "dynamics", "comparison"]
# What all studies say together, from the folder of the results itself.
TOGETHER = ["claims.csv", "claims.md", "claims_overview.png"]
# What is kept of a study, where it has it.
TABLES = ["contrasts", "summary", "runs", "anchor_checks", "early_phase", "speed_up", "waterfall"]
TABLES += ["factorials", "one_at_a_time", "ranking", "field_effects", "dose_response"]
TABLES += ["basins", "dynamics_claims", "descent", "stretching", "gains", "gain_trends"]
# And whatever a claim rests on.
TABLES += sorted({table for own in claim_tables().values() for table in own} - set(TABLES))
TEXTS = ["findings", "insights", "where_it_gains"]
FIGURES = ["waterfall", "speed_up", "learning_curves", "contributions", "performance"]
FIGURES += ["quantization", "geometry_over_loss", "curvature_over_loss", "gains", "norm_depth"]
# What is shown of a study: in which text, and from which line to the next heading or the end.
SHOWN = [
    ("findings", "**Claims**"),
    ("findings", "**What each component is worth**"),
    ("insights", "| Claim of the source"),
    ("findings", "**Anchor checks**"),
]
PICTURES = ["waterfall", "contributions", "learning_curves"]


def overlays(size: str, study: str) -> list[Path]:
    """The files of the configuration that a kept study was made by."""
    return [ROOT / "config.yaml", *(ROOT / file.format(study=study) for file in OVERLAYS[size])]


def kept() -> list[Kept]:
    """Every study that is kept, largest size first."""
    folders = [(size, study) for size in OVERLAYS for study in STUDIES]
    return [of(size, study) for size, study in folders if (KEPT / size / study).exists()]


def of(size: str, study: str) -> Kept:
    """A kept study, described by the configuration that it was made by."""
    plan, summary = load_plan(overlays(size, study)), KEPT / size / study / "summary.csv"
    data = ", ".join(dict.fromkeys(pd.read_csv(summary).data))
    level = percent(plan.studies[study].measure["contrasts"]["alpha"])
    title = plan.studies[study].title
    replicated = size == "small" and (KEPT / "replication" / study).exists()
    again = of("replication", study) if replicated else None
    return Kept(study, title, data, SIZES[size], level, KEPT / size / study, again)


def excerpt(text: str, start_of: str) -> str:
    """The part of a text that begins with `start_of`; empty if it has none."""
    start = text.find(start_of)
    end = text.find("\n\n**", start + 3)
    return text[start : end if end > 0 else len(text)].strip() if start >= 0 else ""


def part(study: Kept) -> str:
    """One study in docs/results/README.md."""
    place = study.folder.relative_to(KEPT).as_posix()
    lines = [f"## {study.title}, {study.size}", f"Configuration: `{study.name}`."]
    pictures = [name for name in PICTURES if (study.folder / f"{name}.png").exists()]
    lines += [f"![{name.replace('_', ' ')}]({place}/{name}.png)" for name in pictures]
    for name, start in SHOWN:
        file = study.folder / f"{name}.md"
        lines.append(excerpt(file.read_text(), start) if file.exists() else "")
    texts = [name for name in TEXTS if (study.folder / f"{name}.md").exists()]
    links = ", ".join(f"[{name}]({place}/{name}.md)" for name in texts)
    lines.append(f"All of it: {links}; the tables lie beside them.")
    return "\n\n".join(filter(None, lines))


def index(studies: list[Kept]) -> str:
    """docs/results/README.md."""
    opening = (
        "# What was found\n\nExcerpts from the findings that the workflow wrote, largest size "
        "first. `python docs/refresh.py` makes this page; the terms are explained in the "
        "[glossary](../glossary.md)."
    )
    return "\n\n".join([opening, *map(part, studies)]) + "\n"


def block(studies: list[Kept]) -> str:
    """What the README says of the findings."""
    return "\n".join(f"- {sentence}" for sentence in headline(studies))


def verdicts() -> str:
    """The published claims and their verdicts, with a column for each size that was run."""
    files = {size: KEPT / size / "claims.csv" for size in OVERLAYS}
    sizes = {size: pd.read_csv(file) for size, file in files.items() if file.exists()}
    if not sizes:
        return ""
    first = next(iter(sizes.values())).drop_duplicates("number")
    titles = [f"[{size}](docs/results/{size}/claims.md)" for size in sizes]
    lines = [f"| | Claim | {' | '.join(titles)} |", "|---" * (2 + len(sizes)) + "|"]
    for row in first.itertuples():
        found = [own.verdict[own.number == row.number].iloc[0] for own in sizes.values()]
        lines.append(f"| {row.number} | {row.short} | {' | '.join(found)} |")
    return "\n".join(lines)


def judge(size: str) -> None:
    """Writes the claims of a size of which only some studies were run, from their kept tables."""
    tables, facts = {}, {}
    for study in (own for own in STUDIES if (KEPT / size / own).exists()):
        plan = load_plan(overlays(size, study)).studies[study]
        arms = [{"name": arm.name, "label": arm.label} for arm in plan.arms.values()]
        training = next(iter(plan.arms.values())).settings["training"]
        facts[study] = {"base": study, "protocol": plan.protocol, "data": plan.data, "arms": arms}
        facts[study] |= {"training": training, "alpha": plan.measure["contrasts"]["alpha"]}
        files = sorted((KEPT / size / study).glob("*.csv"))
        tables[study] = {file.stem: pd.read_csv(file) for file in files}
    found = claims_table(claim_records(), facts, tables)
    found.to_csv(KEPT / size / "claims.csv", index=False)
    table = pd.read_csv(KEPT / size / "claims.csv")
    (KEPT / size / "claims.md").write_text(claims_page(table, size, []))


def keep(size: str, study: str) -> None:
    """Copies what is kept of one finished study; what it no longer has is removed."""
    source, target = ROOT / "results" / size / study, KEPT / size / study
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = [source / "tables" / f"{name}.csv" for name in TABLES]
    files += [source / f"{name}.md" for name in TEXTS]
    files += [source / "figures" / f"{name}.png" for name in FIGURES]
    for file in filter(Path.exists, files):
        shutil.copyfile(file, target / file.name)


def show() -> None:
    """Writes docs/results/README.md, and the README's findings and claims, from what is kept."""
    studies = kept()
    (KEPT / "README.md").write_text(index(studies))
    text = (ROOT / "README.md").read_text()
    for name, shown in (("findings", block(studies)), ("claims", verdicts())):
        marked = f"<!-- {name} -->\n{shown}\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*<!-- /{name} -->", lambda _, m=marked: m, text, flags=re.S)
    (ROOT / "README.md").write_text(text)


if __name__ == "__main__":
    size, *studies = sys.argv[1:] or ["mini"]
    for study in studies or STUDIES:
        if (ROOT / "results" / size / study / "findings.md").exists():
            keep(size, study)
    for name in TOGETHER:
        if (ROOT / "results" / size / name).exists():
            shutil.copyfile(ROOT / "results" / size / name, KEPT / size / name)
    if not (ROOT / "results" / size / "claims.csv").exists():
        judge(size)
    show()
