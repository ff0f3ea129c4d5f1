"""What CONTRIBUTING.md and the README promise: one file for a figure, a table, a measurement; sizes
side by side; targets by their names."""

import re

import pytest

FIGURE = '''"""How long runs took."""

import matplotlib.pyplot as plt
import pandas as pd

from muonlab.declare import figure


@figure(title="seconds", section="training", caption="Seconds of {title} over {n} seeds.")
def seconds(provenances: list, runs: list, study: dict) -> plt.Figure:
    drawn, axis = plt.subplots()
    axis.bar([run["arm"] for run in runs], [record["seconds"] for record in provenances])
    axis.set_title(study["title"])
    return drawn
'''
MEASUREMENT = '''"""Norms of a run's final weights."""

from muonlab.declare import measurement

COLUMNS = {"tensor": str, "value": float}


@measurement()
def norms(run, places):
    for name, weight in run.weights(run.last).items():
        yield {"tensor": name, "value": float(weight.norm())}
'''
TABLE = '''"""Means of the norms."""

import pandas as pd

from muonlab.declare import table


@table(section="tables", outputs={"norms": ("norms", "Mean norms of {title}.")})
def norms(norms_records: pd.DataFrame) -> pd.DataFrame:
    return norms_records.groupby(["arm", "tensor"]).value.mean().reset_index()
'''


def add(project, path, text):
    (project.folder / "workflow_scripts/muonlab" / path).write_text(text)


def test_a_figure_is_one_file_and_retrains_nothing(finished):
    add(finished, "report/figures/run_times.py", FIGURE)
    outcome = finished.snakemake()
    assert outcome.code == 0, outcome.err
    assert outcome.of_studies == {"plot_seconds": 1, "all": 1}
    figures = finished.folder / "results/mini/fashion/figures"
    assert (figures / "seconds.svg").exists() and (figures / "seconds.png").exists()
    assert "Seconds of" in (finished.folder / "results/mini/report.html").read_text()


def test_a_measurement_is_one_file_and_one_line_and_retrains_nothing(finished):
    add(finished, "probes/norms.py", MEASUREMENT)
    add(finished, "report/tables/mean_norms.py", TABLE)
    assert finished.snakemake("-n").nothing_to_do, "no study asks for it"
    tiny = finished.folder / "tiny.yaml"
    tiny.write_text(tiny.read_text() + "    measure: {also: [norms]}\n")
    outcome = finished.snakemake()
    assert outcome.code == 0, outcome.err
    assert outcome.of_studies == {"measure_norms": 4, "tabulate_norms": 1, "all": 1}
    rows = (finished.folder / "results/mini/fashion/tables/norms.csv").read_text().splitlines()
    assert rows[0] == "arm,tensor,value" and len(rows) > 2


def test_two_sizes_lie_side_by_side(finished):
    other = (finished.folder / "tiny.yaml").read_text() + "    model: {width: 9}\nname: wide\n"
    (finished.folder / "wide.yaml").write_text(other)
    outcome = finished.snakemake("tune", overlay="wide.yaml")
    assert outcome.code == 0, outcome.err
    assert (finished.folder / "results/wide/fashion/tuning/selection.json").exists()
    assert finished.snakemake().nothing_to_do, "the first size is as it was"


def test_a_target_that_is_none_gets_the_nearest_one(project):
    outcome = project.snakemake("-n", "figurs")
    assert outcome.code != 0
    assert "error: there is no target 'figurs'; did you mean figures?" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("kind", ["rule", "prefix"])
def test_a_study_may_not_bear_the_name_of_a_rule(kind, project):
    """Every rule's name is refused for a study, those that are made in loops too."""
    listed = project.snakemake("--list-rules").out.splitlines()
    rules = [line for line in listed if re.fullmatch(r"[a-z][a-z0-9_]*", line)]
    rules = [name for name in rules if name != "fashion"]
    assert {"all", "train_run", "measure_spectra", "plot_lr_sweep"} <= set(rules)
    for name in rules if kind == "rule" else ["plot_mine", "measure_mine"]:
        from muonlab.plan.schema import is_reserved

        assert is_reserved(name), name
