"""Copies tables, findings and figures of a default run into docs/ and the README.

python docs/refresh.py      from the repository's root, after `snakemake --cores all`

Nothing is written by hand: the README's section of findings consists of excerpts from the studies'
own findings, and a test checks these against the tables that are kept beside them.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVERYWHERE = ["contrasts", "summary", "runs", "anchor_checks", "early_phase"]
TABLES = {
    "fashion": EVERYWHERE,
    "moe": [*EVERYWHERE, "factorials", "one_at_a_time"],
    "ablation": [*EVERYWHERE, "one_at_a_time"]
    + ["ranking", "field_effects", "dose_response", "basins"],
}
TEXTS = {"fashion": ["findings"], "moe": ["findings"], "ablation": ["findings", "insights"]}
FIGURES = {
    "fashion": ["learning_curves", "quantization", "geometry_over_loss", "curvature_over_loss"],
    "moe": ["contributions"],
    "ablation": ["performance"],
}
# What all studies say together, from the folder of the results itself.
TOGETHER = ["claims.csv", "claims.md", "claims_overview.png"]
# Tables that are a figure too, of the studies that have them.
IF_MADE = ["speed_up", "waterfall"]
# The README's excerpt of each study: from this line of its text to the next heading or the end.
SHOWN = {
    "fashion": ("findings", "**Claims**"),
    "moe": ("findings", "**What each component is worth**"),
    "ablation": ("insights", "| Claim of the source"),
}
ANCHORS = "**Anchor checks**"  # where this part of the findings begins


def excerpt(text: str, start_of: str) -> str:
    """The part of a text that begins with `start_of`; empty if it has none."""
    start = text.find(start_of)
    end = text.find("\n\n**", start + 3)
    return text[start : end if end > 0 else len(text)].strip() if start >= 0 else ""


def section() -> str:
    """The README's findings, from the texts and figures in docs/."""
    # The README opens with the ablation's waterfall, outside this section.
    pictures = [f"docs/{study}/waterfall.png" for study in SHOWN if study != "ablation"]
    parts = [f"![where the published gap goes]({p})" for p in pictures if (ROOT / p).exists()]
    for study, (name, start) in SHOWN.items():
        path = f"docs/{study}/{name}.md"
        shown = [excerpt((ROOT / path).read_text(), start)]
        shown.append(excerpt((ROOT / "docs" / study / "findings.md").read_text(), ANCHORS))
        told = "\n\n".join(filter(None, shown))
        parts.append(f"### `{study}`\n\n{told}\n\nAll of it: [{path}]({path}).")
    return "\n\n".join(parts)


def refresh() -> None:
    for study in TABLES:
        source, target = ROOT / "results" / "mini" / study, ROOT / "docs" / study
        target.mkdir(exist_ok=True)
        for name in TABLES[study]:
            shutil.copyfile(source / "tables" / f"{name}.csv", target / f"{name}.csv")
        for name in IF_MADE:
            for folder, suffix in (("tables", "csv"), ("figures", "png")):
                kept = target / f"{name}.{suffix}"
                kept.unlink(missing_ok=True)
                if (source / folder / kept.name).exists():
                    shutil.copyfile(source / folder / kept.name, kept)
        for name in TEXTS[study]:
            shutil.copyfile(source / f"{name}.md", target / f"{name}.md")
        for name in FIGURES[study]:
            shutil.copyfile(source / "figures" / f"{name}.png", target / f"{name}.png")
    for name in TOGETHER:
        shutil.copyfile(ROOT / "results" / "mini" / name, ROOT / "docs" / name)
    readme = (ROOT / "README.md").read_text()
    block = f"<!-- findings -->\n{section()}\n<!-- /findings -->"
    readme = re.sub(r"<!-- findings -->.*<!-- /findings -->", lambda _: block, readme, flags=re.S)
    (ROOT / "README.md").write_text(readme)


if __name__ == "__main__":
    refresh()
