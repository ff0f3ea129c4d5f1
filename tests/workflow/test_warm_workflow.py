"""Through Snakemake, jobs share a worker's imports, and nobody can tell by what they made."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers run on Linux only")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", ".snakemake_timestamp")
    }


def tuning_run(finished):
    """The folder of one tuning run, as a target would name it."""
    summaries = (finished.folder / "results/mini/runs").rglob("tuning-seed-*/run.json")
    return min(summaries).parent.relative_to(finished.folder)


def test_jobs_by_themselves_make_the_same_bytes(finished_once, project, monkeypatch):
    run = tuning_run(finished_once)
    monkeypatch.setenv("MUONLAB_WARM", "0")
    outcome = project.snakemake(f"{run}/run.json")
    assert outcome.code == 0, outcome.err
    assert contents(project.folder / run) == contents(finished_once.folder / run)
    logs = [f.folder / "results/mini/logs/train" for f in (finished_once, project)]
    assert not any(list(folder.rglob("*.log")) for folder in logs), "neither had anything to say"


def test_the_training_jobs_of_one_call_have_one_worker(finished_once, project):
    project.edit(
        "workflow_scripts/train.py",
        "    train(",
        "    import os; print('worker', os.getppid())\n    train(",
    )
    runs = sorted((finished_once.folder / "results/mini/runs").glob("*/tuning-seed-*/run.json"))
    targets = [run.relative_to(finished_once.folder).as_posix() for run in runs[:2]]
    outcome = project.snakemake(*targets)
    assert outcome.code == 0, outcome.err
    logs = [p.read_text() for p in (project.folder / "results/mini/logs/train").rglob("*.log")]
    assert len(logs) == 2
    assert not any("no warm worker" in log for log in logs)
    (worker,) = {int(re.search(r"worker (\d+)", log)[1]) for log in logs}
    assert ended(worker)


def test_ctrl_c_leaves_no_process(project):
    tiny = project.folder / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("epochs: 2", "epochs: 100000"))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile"]
    command += ["core.yaml", "tiny.yaml"]
    call = subprocess.Popen(
        command,
        cwd=project.folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # The signal may be ignored where the tests run, in the background of a shell, say.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while len(locks := [*(project.folder / "results/mini/runs").rglob("*.lock")]) < 2:
        assert time.monotonic() < until, "training never began"
        time.sleep(0.1)
    time.sleep(0.2)
    children = [int(re.match(r"pid (\d+)", lock.read_text())[1]) for lock in locks]
    worker = int(Path(f"/proc/{children[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.killpg(call.pid, signal.SIGINT)
    call.communicate(timeout=60)
    assert call.returncode != 0
    assert all(map(ended, [*children, worker]))


def ended(pid, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
