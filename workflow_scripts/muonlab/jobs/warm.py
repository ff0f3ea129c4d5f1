"""Lets short jobs share their imports: a job can run in a child of a worker that has already
imported the modules.

`import torch` and what it brings takes longer than most jobs of the default studies. The first job
of an invocation of Snakemake starts a worker (`jobs/server.py`), which imports the modules once and
then forks children, each of which runs one job after the other (`jobs/child.py`). A child runs the
job's own script, with the job's standard streams, environment and working directory. The job's
process waits, passes signals on, and ends as the job ended. If any of this fails, the job runs in
its own process, as it would without a worker.

Snakemake puts a preamble before each script, which imports parts of Snakemake. Where there is a
worker already, warm_start.py hands the script over before the preamble is run (`run_command`);
Snakemake is told to start scripts through it (`prefix`).

A worker belongs to one user, one running Snakemake, one Python, one environment and one state of
the code; the name of its socket is a hash of all these. It is an abstract name (unix(7)), so no
file is left behind and only one process can have it. Both sides check that the other belongs to the
same user. All of this works on Linux only.

The results of a job are the same either way, except for its peak host memory: a child does not
count pages of libraries that only importing them uses (about 75 MB for torch, the same for every
run), and counts what an earlier short job of the same child has not given back. Snakemake's
`benchmark:` would measure the waiting process; no rule uses it.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from muonlab.io.logs import note
from muonlab.jobs.client import (
    DECLINED,
    address_of,
    end_as,
    possible,
    reach,
    run_through,
    snakemake_above,
)
from muonlab.jobs.modules import TABLES, TORCH

__all__ = ["TABLES", "TORCH", "hand_over", "prefix"]
SCRIPTS = Path(__file__).resolve().parents[2]
START = (
    "import json, sys; facts = json.loads(sys.argv[1]); fresh = list(sys.path);"
    "sys.path += facts.pop('path'); from muonlab.jobs.server import main; main(fresh, **facts)"
)

# Arrow's allocator would start a thread, and a process with several threads must not fork. Large
# pages of memory: a child is new to all of its memory, and takes a fault for each page.
SETTINGS = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

in_worker = False  # set to True by the worker, so that its children run the jobs themselves


def hand_over(job, modules: tuple[str, ...]) -> None:
    """Lets a worker that has imported `modules` run this process's script, and then ends this
    process as the script ended.

    Returns only if no worker runs the script, so that the script continues in this process: for
    jobs with a GPU or several threads, for cluster jobs, with MUONLAB_WARM=0 in the environment,
    and if the worker fails. In the worker's own child, a script that does not suit it ends with the
    status DECLINED, upon which `run_command` runs it in a process of its own. `job` is the object
    `snakemake` that Snakemake gives each script.
    """
    suits = _suits(job)
    if in_worker and not suits:
        os._exit(DECLINED)
    if in_worker or not suits:
        return
    try:
        outcome = run_through(_connect(snakemake_above(), modules))
    except OSError as failure:
        note(f"no warm worker ({failure}): the job imports its modules itself")
        return
    end_as(outcome)


def prefix() -> str:
    """What `shell.prefix` of Snakemake puts before each command, for jobs that run on this machine
    in Snakemake's own environment; its own prefix, if jobs cannot share imports here."""
    strict = "set -euo pipefail; "  # Snakemake's own
    if not possible():
        return strict
    start = SCRIPTS / "warm_start.py"
    return f"{strict}{shlex.join([sys.executable, '-S', '-P', str(start)])} "


def _suits(job) -> bool:
    return possible() and job.threads == 1 and not job.resources.get("gpu")


def _connect(driver: tuple[int, str], modules: tuple[str, ...]) -> socket.socket:
    """A connection to the worker. Starts a worker if there is none."""
    address = address_of(driver, modules)
    for _ in range(100):
        try:
            return reach(address)
        except ConnectionRefusedError:  # there is no such worker, or it does not listen yet
            if not _start(address, driver, modules):
                time.sleep(0.01)
    raise ConnectionRefusedError("it does not listen")


def _start(address: str, driver: tuple[int, str], modules: tuple[str, ...]) -> bool:
    """Starts the worker with a socket that already listens, so that requests wait until it has
    imported its modules. Returns False if another process already has the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(address)
        except OSError:
            return False
        os.close(os.pidfd_open(driver[0]))  # fails if a worker could not watch its Snakemake
        listener.listen(1024)
        facts = {"listener": listener.fileno(), "driver": driver, "modules": modules}
        subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps(facts | {"path": sys.path[1:]})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd="/",
            env=SETTINGS | os.environ,
            start_new_session=True,
        )
    return True
