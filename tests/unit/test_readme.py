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


# The tables of the findings, and the parameters of another name that some of them are passed as.
TABLES = ("contrasts", "summary", "runs", "factorials", "one_at_a_time", "anchor_checks")
TABLES += ("speed_up", "waterfall", "early_phase", "dynamics_claims", "descent")
RENAMED = {
    "runs": "runs_table",
    "factorials": "factorials_table",
    "speed_up": "speed_up_table",
    "waterfall": "waterfall_table",
}


REFRESH = runpy.run_path(str(ROOT / "docs" / "refresh.py"))
KEPT = [(size, study) for size in REFRESH["OVERLAYS"] for study in REFRESH["STUDIES"]]
KEPT = [(size, study) for size, study in KEPT if (REFRESH["KEPT"] / size / study).exists()]


def plan_of(size, study):
    return load_plan(REFRESH["overlays"](size, study)).studies[study]


def kept(size, study, name):
    file = REFRESH["KEPT"] / size / study / f"{name}.csv"
    return pd.read_csv(file) if file.exists() else None


def context(plan):
    """What a text says of a kept study besides its tables."""
    arms = plan.arms.values()
    return {
        "kind": plan.kind,
        "interval": "95 %",
        "levels": plan.measure["levels"],
        "training": next(iter(arms)).settings["training"],
        "arms": [{"name": arm.name, "label": arm.label} for arm in arms],
    }


def test_the_default_studies_are_kept():
    default = set(load_plan([ROOT / "config.yaml"]).studies)
    assert {study for size, study in KEPT if size == "mini"} == default == set(REFRESH["STUDIES"])


@pytest.mark.parametrize(("size", "study"), KEPT)
def test_the_findings_are_computed_from_the_kept_tables(size, study):
    plan = plan_of(size, study)
    passed_as = dict(zip(TABLES, TABLES, strict=True)) | RENAMED
    tables = {passed_as[name]: kept(size, study, name) for name in TABLES}
    tables = {name: table for name, table in tables.items() if table is not None}
    tables["comparison"] = {"families": study_families(plan)}
    shown = (REFRESH["KEPT"] / size / study / "findings.md").read_text()
    assert shown == findings(study=context(plan), **tables)


@pytest.mark.parametrize(("size", "study"), KEPT)
def test_no_heading_of_the_findings_is_without_text(size, study):
    shown = (REFRESH["KEPT"] / size / study / "findings.md").read_text()
    assert not re.findall(r"^\*\*[^*\n]+\*\*\n+(?=\*\*[^*\n]+\*\*\n|\Z)", shown, re.M)


@pytest.mark.parametrize(("size", "study"), KEPT)
def test_the_insights_are_computed_from_the_kept_tables(size, study):
    file = REFRESH["KEPT"] / size / study / "insights.md"
    if not file.exists():
        pytest.skip("this study has no insights")
    names = ("ranking", "field_effects", "dose_response", "basins")
    tables = {name: kept(size, study, name) for name in names}
    assert file.read_text() == insights(study=context(plan_of(size, study)), **tables)


def test_the_readme_and_the_page_of_results_show_what_is_kept():
    (shown,) = re.findall(r"<!-- findings -->\n(.*?)\n<!-- /findings -->", README, re.DOTALL)
    studies = REFRESH["kept"]()
    assert shown == REFRESH["block"](studies)
    (claims,) = re.findall(r"<!-- claims -->\n(.*?)\n<!-- /claims -->", README, re.DOTALL)
    assert claims == REFRESH["verdicts"]() and claims.count("\n") > 18
    assert (REFRESH["KEPT"] / "README.md").read_text() == REFRESH["index"](studies)


@pytest.mark.parametrize(("size", "study"), KEPT)
def test_the_kept_tables_are_of_the_studies_that_are_configured(size, study):
    summary, plan = kept(size, study, "summary"), plan_of(size, study)
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
