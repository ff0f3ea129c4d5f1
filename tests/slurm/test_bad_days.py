"""What goes wrong on a cluster: jobs that are ended, a driver that is killed, a controller that is
down, a queue that forgets. The run is trained to the same bytes, and the log says what happened."""

import re
import signal
import subprocess
import sys
import time

import pytest
from submitted import wait_until, watched

from muonlab.plan.runs import load_plan

pytestmark = pytest.mark.slurm

ONE = """\
studies:
  fashion:
    training: {epochs: 8, eval_every: 20, snapshot_every: 60, log_every: 10}
    arms: {muon_hybrid: null}
    tuning: {seeds: [1001], grid: {lr: [0.01]}}
    seeds: [1]
"""
UPDATES = 8 * 18
WAITING = "waiting: another process is working on this run"
SAVE_ALWAYS = ["--set-resources", "train_run:checkpoint_seconds=0"]


class OneRun:
    """A project in which one run is trained, each of whose updates takes at least `pause` seconds,
    so that there is time for something to go wrong."""

    def __init__(self, folder, pause: float, gate: bool = False):
        self.project = watched(folder, ONE)
        self.project.edit(
            "workflow_scripts/muonlab/training/loop.py",
            "        step = self.step\n        due = [",
            f"        time.sleep({pause})\n        step = self.step\n        due = [",
        )
        if gate:  # the run waits in its middle until there is a file `go`
            self.project.edit(
                "workflow_scripts/muonlab/training/loop.py",
                f"        time.sleep({pause})\n",
                "        while self.step == 60 and not __import__('os').path.exists('go'):\n"
                "            time.sleep(0.05)\n"
                "            if self.stop_requested:\n"
                "                return\n",
            )
        files = [self.project.folder / f"{name}.yaml" for name in ("config", "core", "quick")]
        (run,) = load_plan(files).studies["fashion"].reporting_runs("muon", {"lr": 0.01})
        self.target = f"results/mini/runs/{run.name}/run.json"
        self.folder = self.project.folder / f"results/mini/runs/{run.name}"
        self.log = self.project.folder / f"results/mini/logs/train/{run.name}.log"

    def begin(self, *more: str, **environment: str):
        # What can be given more than once comes last, and takes everything behind it.
        return self.project.begin(self.target, *SAVE_ALWAYS, *more, **environment)

    def is_training(self) -> bool:
        """Whether a checkpoint has been written, and the run is not at its end."""
        return (
            self.folder.with_name(f"{self.folder.name}.partial").joinpath("checkpoint.pt").exists()
        )

    def is_waiting(self) -> bool:
        return self.log.exists() and WAITING in self.log.read_text()

    def go(self) -> None:
        """Lets a run with a gate go on."""
        (self.project.folder / "go").touch()

    def job(self) -> str:
        """The id of the job that began last."""
        return self.project.seen()[-1][1]

    def contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.name not in ("run.json", ".snakemake_timestamp")
        }

    def leftovers(self) -> list[str]:
        beside = self.folder.parent.iterdir()
        return [path.name for path in beside if path != self.folder]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The bytes of the run when nothing goes wrong, without SLURM."""
    run = OneRun(tmp_path_factory.mktemp("reference") / "project", pause=0.0)
    outcome = run.project.snakemake(run.target, overlay="quick.yaml", timeout=1500)
    assert outcome.code == 0, outcome.err
    return run.contents()


def check(run: OneRun, reference: dict[str, bytes]) -> None:
    assert run.contents() == reference
    assert run.leftovers() == []


def running_jobs(cluster) -> list[str]:
    return cluster.ask("squeue", "--noheader", "--states=R", "--format=%A").split()


@pytest.fixture(scope="module")
def cluster(start):
    return start(accounting=False)


@pytest.mark.slow
def test_a_job_that_scancel_ended_is_submitted_again(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=0.0, gate=True)
    driver = run.begin()
    driver.wait_until(run.is_training, 120, "training")
    job = run.job()
    cluster.ask("scancel", job)
    run.go()
    driver.succeed()
    assert re.search(f"SLURM-job '{job}' failed, SLURM status is: 'CANCELLED'", run.project.said)
    assert len(run.project.seen()) == 2
    assert re.search(r"resumes at step [1-9]", run.log.read_text())
    check(run, reference)


@pytest.mark.slow
def test_a_job_without_enough_memory_gets_more(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=0.1)
    driver = run.begin("train_run:mem_mb=350*attempt**2")
    driver.succeed()
    failed = r"failed, SLURM status is: '(OUT_OF_MEMORY|FAILED|CANCELLED)'"
    assert re.search(failed, run.project.said)
    logs = [p.read_text() for p in (run.project.folder / "results/slurm-logs").rglob("*.log")]
    assert any("memory" in log.lower() for log in logs), "the log of the failed job says why"
    check(run, reference)


def test_a_killed_driver_does_not_train_twice(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=0.0, gate=True)
    driver = run.begin()
    driver.wait_until(run.is_training, 120, "training")
    driver.process.kill()
    driver.process.wait()
    unlock = [sys.executable, "-m", "snakemake", "--unlock", "--configfile"]
    unlock += ["core.yaml", "quick.yaml"]
    subprocess.run(unlock, cwd=run.project.folder, check=True, capture_output=True)
    first = run.job()
    driver = run.begin()
    driver.wait_until(
        lambda: run.log.exists() and WAITING in run.log.read_text(), 120, "a second job"
    )
    run.go()
    driver.succeed()
    wait_until(lambda: first not in running_jobs(cluster), 60, "the first job's end")
    jobs = [job for _, job, _ in run.project.seen()]
    assert jobs[0] == first
    assert len(jobs) == 2, "a second job was submitted"
    log = run.log.read_text()
    assert "another process has finished this run meanwhile" in log
    check(run, reference)


@pytest.mark.slow
def test_sigterm_to_the_driver_ends_its_jobs(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=0.0, gate=True)
    driver = run.begin()
    driver.wait_until(run.is_training, 120, "training")
    driver.process.send_signal(signal.SIGINT)
    driver.end()
    wait_until(lambda: run.job() not in running_jobs(cluster), 60, "the end of its job")
    assert not (run.folder / "run.json").exists()
    run.go()
    run.begin().succeed()
    assert re.search(r"resumes at step [1-9]", run.log.read_text())
    check(run, reference)


@pytest.mark.slow
def test_a_job_that_the_time_limit_ended_goes_on_with_more_time(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=90 / UPDATES)
    driver = run.begin("train_run:runtime=attempt")
    driver.succeed()
    assert "SLURM status is: 'TIMEOUT'" in run.project.said
    assert re.search(r"resumes at step [1-9]", run.log.read_text())
    check(run, reference)


@pytest.mark.slow
def test_a_controller_that_is_down_for_a_minute(cluster, reference, tmp_path):
    run = OneRun(tmp_path / "project", pause=0.0, gate=True)
    driver = run.begin(MUONLAB_PATIENCE="30")
    driver.wait_until(run.is_training, 120, "training")
    cluster.stop_controller()
    run.go()
    driver.wait_until((run.folder / "run.json").exists, 60, "the end of training")
    time.sleep(60)
    cluster.start_controller()
    driver.succeed()
    assert len(run.project.seen()) == 1
    check(run, reference)


def test_a_job_that_the_queue_forgot_is_judged_by_its_outputs(start, reference, tmp_path):
    """The controller forgets an ended job after 2 s, long before the plugin asks again."""
    cluster = start(accounting=False, remembered_seconds=2)
    late = ["--slurm-init-seconds-before-status-checks", "20"]
    done = OneRun(tmp_path / "done", pause=0.0)
    ended = OneRun(tmp_path / "ended", pause=0.0, gate=True)
    drivers = [run.begin(*late, MUONLAB_PATIENCE="8") for run in (done, ended)]
    drivers[1].wait_until(ended.is_training, 180, "training")
    mine = {job for _, job, _ in ended.project.seen()}
    cluster.ask("scancel", *mine)
    ended.go()
    for run, driver in zip((done, ended), drivers, strict=True):
        driver.succeed()
        check(run, reference)
    assert "its outputs are all there: the job counts as done" in done.project.said
    assert "was not written: the job counts as failed" in ended.project.said
    assert len(done.project.seen()) == 1
    assert len(ended.project.seen()) == 2
