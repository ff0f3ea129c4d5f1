"""A job's process reaches the worker before it begins with its script, or runs it as it is."""

import os
import signal
import subprocess
import sys
from subprocess import PIPE

import test_warm
from test_warm import LIBRARY, Jobs, heed_signals, wait_for

from muonlab.jobs import warm

pytestmark = test_warm.pytestmark

AT_ONCE = """\
import os, sys
print("begins", os.getpid(), flush=True)
sys.path.append({library!r})
from types import SimpleNamespace
from muonlab.jobs.warm import TABLES, hand_over
snakemake = SimpleNamespace(threads={threads}, resources={{}})
hand_over(snakemake, TABLES)
{body}
"""


class JobsAtOnce(Jobs):
    """Jobs whose processes look for a worker before they begin with their script."""

    def start(self, body, threads=1, stdout=PIPE):
        script = self.folder / f"job{self.number}.py"
        self.number += 1
        script.write_text(AT_ONCE.format(library=str(LIBRARY), threads=threads, body=body))
        command = [sys.executable, "-S", "-P", str(LIBRARY / "warm_start.py"), sys.executable]
        around = {"cwd": self.folder, "env": self.environment, "preexec_fn": heed_signals}
        streams = {"stdout": stdout, "stderr": PIPE, "text": True}
        return subprocess.Popen([*command, str(script)], **around, **streams)

    def ended(self, body, **more):
        """Exit status, the processes that began the script, and what else was printed."""
        job = self.start(body, **more)
        out, _ = job.communicate(timeout=120)
        lines = out.splitlines()
        return (
            job.returncode,
            [line.split()[1] for line in lines if line.startswith("begins ")],
            [line for line in lines if not line.startswith("begins ")],
        )


def test_a_job_that_reaches_the_worker_at_once_begins_its_script_there_alone(tmp_path):
    jobs = JobsAtOnce(tmp_path)
    code, began, (worker,) = jobs.ended("print(os.getppid())")
    # There was no worker: the script began in its own process, which started one.
    assert code == 0 and len(began) == 2 and int(worker) != os.getpid()
    try:
        code, began, parent = jobs.ended("print(os.getppid())")
        assert (code, len(began), parent) == (0, 1, [worker])
        assert jobs.ended("sys.exit(7)")[0] == 7
        code, _, (said,) = jobs.ended("print(sys.argv[0], __name__, os.getcwd())")
        assert said == f"{tmp_path}/job3.py __main__ {tmp_path}"
        # What does not suit a worker runs by itself after all.
        code, began, (parent,) = jobs.ended("print(os.getppid())", threads=2)
        assert (code, len(began), int(parent)) == (0, 2, os.getpid())
        job = jobs.start("import time; open('on', 'w').write('1'); time.sleep(60)")
        wait_for(tmp_path / "on")
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=20) == -signal.SIGTERM
    finally:
        os.kill(int(worker), signal.SIGKILL)


def test_a_command_that_is_no_job_is_run_as_it_is(tmp_path):
    other = tmp_path / "other.py"
    other.write_text("import sys; print('hand_over', sys.argv[1:]); sys.exit(3)")
    command = [sys.executable, "-S", "-P", str(LIBRARY / "warm_start.py"), sys.executable]
    done = subprocess.run([*command, str(other), "a b"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "hand_over ['a b']\n")
    done = subprocess.run([*command, "-c", "print(1)"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_the_prefix_keeps_snakemakes_own(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("MUONLAB_WARM", "0")
    assert warm.prefix() == "set -euo pipefail; "
    monkeypatch.delenv("MUONLAB_WARM")
    assert warm.prefix().startswith("set -euo pipefail; ")
    assert "warm_start.py" in warm.prefix()
