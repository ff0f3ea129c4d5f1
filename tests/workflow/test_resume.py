"""A training job that is killed goes on where it was, through Snakemake itself."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from checkouts import checkout

from muonlab.plan.runs import load_plan

LONG = """\
studies:
  fashion:
    training: {epochs: 25, eval_every: 20, snapshot_every: 60, log_every: 10}
    arms: {muon_hybrid: null}
    tuning: {seeds: [1001], grid: {lr: [0.01]}}
    seeds: [1]
"""


def command(run):
    options = ["--set-resources", "train_run:checkpoint_seconds=0", "--configfile", "core.yaml"]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "1", *options, "tiny.yaml"]
    return [*snakemake, "--", f"{run}/run.json"]


def long_project(folder):
    """A checkout, and the folder of its one reporting run with Muon."""
    project = checkout(folder)
    (project.folder / "tiny.yaml").write_text(LONG)
    plan = load_plan([project.folder / f"{name}.yaml" for name in ("config", "core", "tiny")])
    (run,) = plan.studies["fashion"].reporting_runs("muon", {"lr": 0.01})
    return project.folder, f"results/mini/runs/{run.name}"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder, run = long_project(tmp_path_factory.mktemp("whole") / "project")
    subprocess.run(command(run), cwd=folder, check=True, capture_output=True)
    return contents(folder / run)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".snakemake_timestamp")
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_a_killed_job_resumes_to_the_same_bytes(number, tmp_path, uninterrupted):
    folder, run = long_project(tmp_path / "project")
    partial, lock = (folder / f"{run}.{suffix}" for suffix in ("partial", "lock"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    attempt = subprocess.Popen(command(run), cwd=folder, **pipes)
    wait_for(partial / "snapshots" / "00000060.safetensors")
    holder = int(re.match(r"pid (\d+)", lock.read_text())[1])
    os.kill(holder, number)
    attempt.communicate(timeout=60)
    assert attempt.returncode != 0
    assert not (folder / run / "run.json").exists()

    again = subprocess.run(command(run), cwd=folder, **pipes)
    assert again.returncode == 0, again.stderr
    (log,) = (folder / "results/mini/logs/train").rglob("seed-1.log")
    assert re.search(r"resumes at step [1-9]", log.read_text())
    assert contents(folder / run) == uninterrupted
    assert not partial.exists()


def wait_for(path, seconds=60):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.005)
