"""Snakemake itself on a bad day: its records are deleted, or two of them work on one results
folder."""

import re
import shutil
import subprocess
import sys
import time

import pytest
from test_resume import command, contents, long_project, wait_for

# A run that waits in its middle until there is a file `go`.
GATE = (
    "        step = self.step\n        due = [",
    """        while self.step == 60 and not __import__("os").path.exists("go"):
            time.sleep(0.05)
            if self.stop_requested:
                return
        step = self.step
        due = [""",
)


def test_without_its_records_snakemake_trains_nothing_again(finished):
    """The time stamps and contents of the files are left, and they are in order."""
    shutil.rmtree(finished.folder / ".snakemake")
    outcome = finished.snakemake()
    assert outcome.code == 0, outcome.err
    assert outcome.nothing_to_do
    assert outcome.trained == 0


@pytest.fixture
def training(tmp_path):
    """A project in which a driver is training its one run, up to its middle."""
    from checkouts import Project

    folder, run = long_project(tmp_path / "project")
    Project(folder).edit("workflow_scripts/muonlab/training/loop.py", *GATE)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen(command(run), cwd=folder, **pipes)
    wait_for(folder / f"{run}.partial" / "checkpoint.pt", seconds=240)
    yield folder, run, first
    if first.poll() is None:
        first.kill()


def test_a_second_driver_is_refused(training):
    folder, run, first = training
    second = subprocess.run(command(run), cwd=folder, capture_output=True, text=True)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout + second.stderr
    assert "Traceback" not in second.stdout + second.stderr
    (folder / "go").touch()
    said, _ = first.communicate(timeout=240)
    assert first.returncode == 0, said
    assert (folder / run / "run.json").exists()


def test_a_second_driver_that_ignores_snakemakes_lock_waits_for_the_run(training):
    folder, run, first = training
    at = [sys.executable, "-m", "snakemake"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    again = [*at, "--nolock", *command(run)[3:]]
    second = subprocess.Popen(again, cwd=folder, **pipes)
    logs = folder / "results/mini/logs/train"

    def told():
        return "".join(log.read_text() for log in logs.rglob("seed-1.log"))

    until = time.monotonic() + 240
    while "waiting: another process is working on this run" not in told():
        assert time.monotonic() < until, "the second driver's job never began"
        time.sleep(0.1)
    (folder / "go").touch()
    first.communicate(timeout=240)
    said, _ = second.communicate(timeout=240)
    assert second.returncode == 0, said
    assert "another process has finished this run meanwhile" in told()
    assert not re.search("resumes at step", told()), "it was trained once"
    whole = contents(folder / run)
    assert "metrics.parquet" in whole
    assert not list((folder / run).glob(".*"))
