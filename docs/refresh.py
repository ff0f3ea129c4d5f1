"""Copies tables, findings and figures of a default run into docs/ and the README.

python docs/refresh.py      from the repository's root, after `snakemake --cores all`

Nothing is written by hand: the README's section of findings consists of excerpts from the studies'
own findings, and a test checks these against the tables that are kept beside them.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = {
    "fashion": ["contrasts", "summary", "runs"],
    "moe": ["contrasts", "summary", "runs", "factorials", "one_at_a_time"],
    "ablation": ["contrasts", "summary", "runs", "one_at_a_time"]
    + ["ranking", "field_effects", "dose_response", "basins"],
}
TEXTS = {"fashion": ["findings"], "moe": ["findings"], "ablation": ["findings", "insights"]}
FIGURES = {
    "fashion": ["learning_curves", "quantization", "geometry_over_loss", "curvature_over_loss"],
    "moe": ["contributions"],
    "ablation": ["performance"],
}
# The README's excerpt of each study: from this line of its text to the next heading or the end.
SHOWN = {
    "fashion": ("findings", "**Loss and accuracy**"),
    "moe": ("findings", "**What each component is worth**"),
    "ablation": ("insights", "| Claim of the source"),
}


def excerpt(study: str, text: str) -> str:
    """The part of a study's findings that the README shows."""
    start = text.index(SHOWN[study][1])
    end = text.find("\n\n**", start + 3)
    return text[start : end if end > 0 else len(text)].strip()


def section() -> str:
    """The README's findings, from the texts in docs/."""
    parts = []
    for study, (name, _) in SHOWN.items():
        path = f"docs/{study}/{name}.md"
        shown = excerpt(study, (ROOT / path).read_text())
        parts.append(f"### `{study}`\n\n{shown}\n\nAll of it: [{path}]({path}).")
    return "\n\n".join(parts)


def refresh() -> None:
    for study in TABLES:
        source, target = ROOT / "results" / "mini" / study, ROOT / "docs" / study
        target.mkdir(exist_ok=True)
        for name in TABLES[study]:
            shutil.copyfile(source / "tables" / f"{name}.csv", target / f"{name}.csv")
        for name in TEXTS[study]:
            shutil.copyfile(source / f"{name}.md", target / f"{name}.md")
        for name in FIGURES[study]:
            shutil.copyfile(source / "figures" / f"{name}.png", target / f"{name}.png")
    readme = (ROOT / "README.md").read_text()
    block = f"<!-- findings -->\n{section()}\n<!-- /findings -->"
    readme = re.sub(r"<!-- findings -->.*<!-- /findings -->", lambda _: block, readme, flags=re.S)
    (ROOT / "README.md").write_text(readme)


if __name__ == "__main__":
    refresh()
