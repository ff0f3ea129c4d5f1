"""Leases of pretend GPUs: jobs go to different ones, and a killed job gives its own back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muonlab.io.errors import UserError
from muonlab.jobs import gpus

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
HOLD = (
    "import os, sys; from pathlib import Path; from muonlab.jobs.gpus import lease_gpus;"
    "count, slots, alone, folder = sys.argv[1:];"
    "lease_gpus(int(count), int(slots), alone == 'alone', Path(folder));"
    "print('has ' + os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
)


@pytest.fixture
def jobs(tmp_path):
    """Starts jobs that lease pretend GPUs and hold them; ends them after the test."""
    started = []

    def start(count=1, slots=1, alone=False, visible="0,1"):
        command = [sys.executable, "-c", HOLD, str(count), str(slots)]
        command += ["alone" if alone else "shared", str(tmp_path)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        environment |= {"CUDA_VISIBLE_DEVICES": visible, "PYTHONPATH": str(SCRIPTS)}
        job = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(job)
        return job

    yield start
    for job in started:
        job.kill()
        job.wait()
        job.stdin.close()
        job.stdout.close()


def said(job):
    return job.stdout.readline().strip()


def leased(job):
    return said(job).removeprefix("has ").split(",")


def test_jobs_go_to_different_gpus_and_a_killed_one_gives_its_own_back(jobs):
    first, second = jobs(), jobs()
    held = {leased(first)[0]: first, leased(second)[0]: second}
    assert set(held) == {"0", "1"}
    third = jobs()
    assert said(third).startswith("waits for 1 of the GPUs 0, 1")
    os.kill(held["1"].pid, signal.SIGKILL)
    assert leased(third) == ["1"]


def test_slots_let_jobs_share_a_gpu_the_emptiest_first(jobs):
    pairs = [jobs(slots=2)]
    found = [leased(pairs[0])[0]]
    for _ in range(3):
        pairs.append(jobs(slots=2))
        found.append(leased(pairs[-1])[0])
    assert found == ["0", "1", "0", "1"]
    assert said(jobs(slots=2)).startswith("waits")


def test_a_job_that_measures_time_takes_a_gpu_alone(jobs):
    assert leased(jobs(slots=2)) == ["0"]
    assert leased(jobs(slots=2, alone=True)) == ["1"]
    assert leased(jobs(slots=2)) == ["0"]
    assert said(jobs(slots=2)).startswith("waits")


def test_a_job_may_lease_several_gpus_or_none_of_them(jobs):
    assert leased(jobs(visible="3,GPU-ab,7")) == ["3"]
    assert leased(jobs(count=2, visible="3,GPU-ab,7")) == ["GPU-ab", "7"]
    waiting = jobs(count=2, visible="7,8")
    assert said(waiting).startswith("waits")
    assert leased(jobs(visible="8")) == ["8"], "who waits for two does not keep one meanwhile"


def test_under_slurm_and_without_a_gpu_nothing_changes(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpus.lease_gpus(0, folder=tmp_path) == []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert gpus.lease_gpus(1, folder=tmp_path) == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.lease_gpus(1, folder=tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_leased_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,-1,1")
    assert gpus.visible_gpus() == ["0"], "CUDA ignores what follows an invalid entry"
    with pytest.raises(UserError, match="asks for 2 GPUs, and this machine shows 1"):
        gpus.lease_gpus(2, folder=tmp_path)
    with pytest.raises(UserError, match="gpu_slots: must be at least 1"):
        gpus.lease_gpus(1, slots=0, folder=tmp_path)


def test_the_jobs_scripts_lease_before_they_import_torch():
    code = (
        "import sys; from muonlab.jobs import gpus, warm; from muonlab.io import logs;"
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(SCRIPTS), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    for script in ("train", "measure", "profile_overhead"):
        text = (SCRIPTS / f"{script}.py").read_text()
        before = text.partition("lease_gpus(snakemake")[0]
        assert "import torch" not in before and "training" not in before and "probes" not in before
