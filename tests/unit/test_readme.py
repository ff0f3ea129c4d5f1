"""The README says what is there: rules, files, commands, and findings computed from tables."""

import re
from pathlib import Path

import pandas as pd

from muonlab.plan.runs import load_plan
from muonlab.present.findings import findings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_graph_names_every_rule_and_no_other():
    (graph,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    drawn = set(re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", re.sub(r"\|.*?\||flowchart \w+", "", graph)))
    rules = {
        name
        for path in (ROOT / "rules").glob("*.smk")
        for name in re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE)
    }
    assert drawn == rules


def test_every_file_that_is_named_or_shown_exists():
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    named = re.findall(r"`((?:envs|studies|docs|results/README)[\w./-]*)`", README)
    commanded = re.findall(r"(?:-r|--configfile) ([\w/.-]+)", README)
    for name in linked + named + commanded:
        assert (ROOT / name).exists(), name


def test_the_findings_are_computed_from_the_kept_tables():
    tables = ROOT / "docs" / "tables"
    expected = findings(pd.read_csv(tables / "contrasts.csv"), pd.read_csv(tables / "summary.csv"))
    (shown,) = re.findall(r"<!-- findings -->\n(.*?)<!-- /findings -->", README, re.DOTALL)
    assert shown.strip() == expected.strip()


def test_the_kept_tables_are_of_the_default_study():
    summary = pd.read_csv(ROOT / "docs" / "tables" / "summary.csv")
    study = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    assert set(summary.arm) == set(study.arms)
    assert set(summary.data) == {study.data}
    assert set(summary.n) == {len(study.seeds)}


def test_the_arms_of_the_example_are_valid(tmp_path):
    examples = re.findall(r"```yaml\n(studies:.*?)```", README, re.DOTALL)
    assert examples
    for i, example in enumerate(examples):
        file = tmp_path / f"{i}.yaml"
        file.write_text(example)
        assert load_plan([ROOT / "config.yaml", file]).runs
