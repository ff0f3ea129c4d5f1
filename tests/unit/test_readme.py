"""The README says what is there: rules, files, commands, and findings computed from tables."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest

from muonlab.plan.pairs import study_families
from muonlab.plan.runs import load_plan
from muonlab.report.texts.findings import findings
from muonlab.report.texts.insights import insights

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_graph_names_every_rule_that_a_study_has():
    (graph,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    files = [path for path in (ROOT / "rules").glob("*.smk") if path.stem != "targets"]
    named = re.compile(r"^(?:rule|checkpoint) (\w+):|^use rule \w+ as (\w+)", re.MULTILINE)
    found = [match for path in files for match in named.findall(path.read_text())]
    rules = {name for match in found for name in match if name}
    assert rules and all(re.search(rf"\b{rule}\b", graph) for rule in rules)
    assert {f"{start}_…" for start in ("measure", "tabulate", "plot", "write")} <= set(
        re.findall(r"\w+_…", graph)
    )


def test_every_file_that_is_named_or_shown_exists():
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    named = re.findall(r"`((?:envs|studies|docs|results/README)[\w./-]*)`", README)
    commanded = re.findall(r"(?:-r|--configfile) ([\w/.-]+)", README)
    for name in linked + named + commanded:
        assert (ROOT / name).exists(), name


# Tables of the findings that a study may lack, and the parameters that they are passed as.
OPTIONAL = {
    "anchor_checks": "anchor_checks",
    "speed_up": "speed_up_table",
    "waterfall": "waterfall_table",
    "early_phase": "early_phase",
}


def kept(study, name):
    return pd.read_csv(ROOT / "docs" / study / f"{name}.csv")


def context(study):
    """What a text says of a default study besides its tables."""
    plan = load_plan([ROOT / "config.yaml"]).studies[study]
    arms = plan.arms.values()
    return {
        "kind": "images" if study == "fashion" else "text",
        "interval": "95 %",
        "levels": plan.measure["levels"],
        "training": next(iter(arms)).settings["training"],
        "arms": [{"name": arm.name, "label": arm.label} for arm in arms],
    }


@pytest.mark.parametrize("study", ["fashion", "moe", "ablation"])
def test_the_findings_are_computed_from_the_kept_tables(study):
    tables = {name: kept(study, name) for name in ("contrasts", "summary")}
    tables["runs_table"] = kept(study, "runs")
    if study == "moe":
        tables["factorials_table"] = kept(study, "factorials")
    if study != "fashion":
        tables["one_at_a_time"] = kept(study, "one_at_a_time")
    for name, parameter in OPTIONAL.items():
        if (ROOT / "docs" / study / f"{name}.csv").exists():
            tables[parameter] = kept(study, name)
    plan = load_plan([ROOT / "config.yaml"]).studies[study]
    tables["comparison"] = {"families": study_families(plan)}
    shown = (ROOT / "docs" / study / "findings.md").read_text()
    assert shown == findings(study=context(study), **tables)


def test_the_insights_are_computed_from_the_kept_tables():
    names = ("ranking", "field_effects", "dose_response", "basins")
    tables = {name: kept("ablation", name) for name in names}
    shown = (ROOT / "docs" / "ablation" / "insights.md").read_text()
    assert shown == insights(study=context("ablation"), **tables)


def test_the_readme_shows_what_the_findings_say():
    (shown,) = re.findall(r"<!-- findings -->\n(.*?)\n<!-- /findings -->", README, re.DOTALL)
    assert shown == runpy.run_path(str(ROOT / "docs" / "refresh.py"))["section"]()


@pytest.mark.parametrize("study", ["fashion", "moe", "ablation"])
def test_the_kept_tables_are_of_the_default_studies(study):
    summary, plan = kept(study, "summary"), load_plan([ROOT / "config.yaml"]).studies[study]
    assert set(summary.arm) == set(plan.arms)
    assert set(summary.data) == {plan.data}
    assert set(summary.n) == {len(plan.seeds)}


def test_the_arms_of_the_example_are_valid(tmp_path):
    examples = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert examples
    for i, example in enumerate(examples):
        file = tmp_path / f"{i}.yaml"
        file.write_text(example)
        assert load_plan([ROOT / "config.yaml", file]).studies
