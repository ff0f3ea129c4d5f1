"""Every column of every table has a meaning in the data dictionary, and only one."""

import csv
import re
import runpy
from pathlib import Path

import pytest
import yaml

from muonlab.plan.registry import ACROSS, read_registry
from muonlab.report.across.claims import COLUMNS

ROOT = Path(__file__).parents[2]
TOLD = yaml.safe_load((ROOT / "workflow_scripts/muonlab/report/columns.yaml").read_text())
KEPT = sorted(ROOT.glob("docs/results/*/*/*.csv"))
ENDINGS = tuple(TOLD["endings"])


def meaning(column, table):
    own = TOLD["instead"].get(table, {})
    name = re.sub(r"_\d+$", "_*", column)
    if column in own or name in TOLD["columns"] or column in TOLD["columns"]:
        return True
    endings = [ending for ending in ENDINGS if column.endswith(ending)]
    return any(meaning(column.removesuffix(ending), table) for ending in endings)


@pytest.mark.parametrize("path", KEPT, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_column_of_a_kept_table_is_told(path):
    with open(path, newline="") as file:
        header = next(csv.reader(file))
    assert [c for c in header if not meaning(c, path.stem)] == []


def test_the_columns_of_the_claims_are_told():
    assert [column for column in COLUMNS if not meaning(column, "claims")] == []


def test_the_exceptions_are_of_tables_that_exist():
    tables = {
        output.name
        for registry in (read_registry(), read_registry(folders=ACROSS))
        for made in registry.tables.values()
        for output in made.outputs
    }
    assert set(TOLD["instead"]) <= tables
    assert all(len(entry) == 2 for entry in TOLD["columns"].values())


def test_the_page_is_up_to_date():
    written = runpy.run_path(str(ROOT / "docs" / "dictionary.py"))["dictionary"]()
    assert (ROOT / "docs" / "tables.md").read_text() == written
