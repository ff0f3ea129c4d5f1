"""The mini fashion study, cut down, through a real SLURM, and beside it without SLURM."""

import csv
import io
import json
import re

import pytest
from submitted import watched

pytestmark = pytest.mark.slurm

QUICK = """\
studies:
  moe: null
  ablation: null
  dynamics: null
  comparison: null
  fashion:
    training: {epochs: 2, eval_every: 10, log_every: 5}
    arms: {muon_hybrid: null}
    tuning: {seeds: [1001], grid: {lr: [0.01]}}
    seeds: [1, 2]
    measure: {curvature: null, quantization: null}
"""
GPUS = ["--set-resources", "train_run:gpu=1", "train_trial:gpu=1"]
TRIALS, RUNS = 2, 4
MEASURED = re.compile("second|bytes")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The study without SLURM."""
    project = watched(tmp_path_factory.mktemp("local") / "project", QUICK)
    outcome = project.snakemake(overlay="quick.yaml", timeout=3000)
    assert outcome.code == 0, outcome.err
    return project


def tables(project) -> dict[str, list[list[str]]]:
    """The cells of all tables but for seconds and memory, which are measured."""
    found = {}
    for file in sorted((project.folder / "results/mini/fashion/tables").glob("*.csv")):
        head, *rows = csv.reader(io.StringIO(file.read_text()))
        kept = [n for n, column in enumerate(head) if not MEASURED.search(column)]
        found[file.name] = [
            [head[n] for n in kept],
            *([row[n] for n in kept] for row in rows if not MEASURED.search(" ".join(row))),
        ]
    return found


def records(project) -> dict[str, bytes]:
    """Everything that was recorded of the training runs but for their provenance."""
    root = project.folder / "results/mini/runs"
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in files
        if file.name not in ("run.json", ".snakemake_timestamp")
    }


def check_training(project, local) -> None:
    """Every run was trained by a job of SLURM, with one GPU, to the bytes of the local run."""
    seen = project.seen()
    assert len({run for run, _, _ in seen}) == len(seen) == TRIALS + RUNS, "each run trained once"
    assert len({job for _, job, _ in seen}) == len(seen), "each in a job of its own"
    assert all(job.isdigit() for _, job, _ in seen)
    assert {gpus for _, _, gpus in seen} <= {"0", "1"}, "each had one GPU"
    assert all(job == "None" for _, job, _ in local.seen())
    ours, theirs = records(project), records(local)
    assert ours == {name: theirs[name] for name in ours}
    for file in (project.folder / "results/mini/runs").rglob("run.json"):
        assert json.loads(file.read_text())["provenance"]["device_type"] == "cpu"


def test_without_accounting(start, local, tmp_path):
    start(accounting=False)
    project = watched(tmp_path / "project", QUICK)
    project.begin(*GPUS).succeed(400)
    check_training(project, local)
    assert records(project).keys() == records(local).keys()
    assert tables(project) == tables(local)
    assert tables(local), "there are tables"
    # Tables are made where Snakemake runs; what takes a node goes to one.
    assert "Submitted array job" in project.said
    finished = [log.read_text().count("Finished jobid") for log in project.logs]
    assert sum(finished) > 15
    project.begin(*GPUS).succeed(60)
    assert "Nothing to be done" in project.said


def test_with_accounting(start, local, tmp_path):
    cluster = start(accounting=True)
    project = watched(tmp_path / "project", QUICK)
    project.begin("train", *GPUS).succeed()
    check_training(project, local)
    columns = "--format=JobID,State,AllocTRES%80"
    lines = cluster.ask("sacct", "--allocations", "--noheader", "--parsable2", columns).split("\n")
    jobs = [line.split("|") for line in lines if line]
    assert all(state == "COMPLETED" for _, state, _ in jobs)
    assert sum("gres/gpu=1" in granted for _, _, granted in jobs) == TRIALS + RUNS
