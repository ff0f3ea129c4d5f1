"""Writes docs/tables.md, what the columns of all tables mean: python docs/dictionary.py

The meanings are in workflow_scripts/muonlab/report/columns.yaml, the tables in their declarations.
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from muonlab.plan.registry import ACROSS, read_registry  # noqa: E402

MEANINGS = ROOT / "workflow_scripts" / "muonlab" / "report" / "columns.yaml"


def dictionary() -> str:
    """The data dictionary as Markdown."""
    told = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    lines = [
        "# The tables and their columns",
        "",
        "Each table is a CSV file in `results/<name>/<study>/tables/`, `claims` in "
        "`results/<name>/`. Floats have every digit; what cannot be estimated is empty. A column "
        "has one meaning, wherever it stands; the exceptions are named at the end.",
        "",
        "## Tables",
        "",
        "| Table | What it is |",
        "|---|---|",
    ]
    for registry in (read_registry(), read_registry(folders=ACROSS)):
        for made in registry.tables.values():
            lines += [
                f"| `{o.name}` | {o.title or 'for other tables and figures'} |"
                for o in made.outputs
            ]
    lines += ["", "## Columns", "", "| Column | Unit | Meaning |", "|---|---|---|"]
    lines += [_row(name, *entry) for name, entry in sorted(told["columns"].items())]
    lines += ["", "A column may end in", "", "| Ending | Meaning |", "|---|---|"]
    lines += [f"| `{ending}` | {meaning} |" for ending, meaning in told["endings"].items()]
    lines += ["", "## Exceptions", "", "| Table | Column | Unit | Meaning |", "|---|---|---|---|"]
    for table, own in told["instead"].items():
        lines += [f"| `{table}` {_row(name, *entry)}" for name, entry in own.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, unit: str, meaning: str) -> str:
    return f"| `{name}` | {unit} | {meaning} |"


if __name__ == "__main__":
    (ROOT / "docs" / "tables.md").write_text(dictionary(), encoding="utf-8")
