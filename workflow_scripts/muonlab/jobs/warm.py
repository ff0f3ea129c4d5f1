"""Lets short jobs share their imports: a job can run in a child of a worker that has already
imported the modules.

`import torch` and what it brings takes longer than most jobs of the default studies. The first job
of an invocation of Snakemake starts a worker (`jobs/server.py`), which imports the modules once and
then forks a child for each job. The child runs the job's own script, with the job's standard
streams, environment and working directory. The job's process waits, passes signals on, and ends as
the child ended. If any of this fails, the job runs in its own process, as it would without a
worker.

Snakemake puts a preamble before each script, which imports parts of Snakemake. Where there is a
worker already, warm_start.py hands the script over before the preamble is run (`run_command`);
Snakemake is told to start scripts through it (`prefix`).

A worker belongs to one user, one running Snakemake, one Python, one environment and one state of
the code; the name of its socket is a hash of all these. It is an abstract name (unix(7)), so no
file is left behind and only one process can have it. Both sides check that the other belongs to the
same user. All of this works on Linux only.

The results of a job are the same either way, except for its peak host memory: a child does not
count pages of libraries that only importing them uses (about 75 MB for torch, the same for every
run). Snakemake's `benchmark:` would measure the waiting process; no rule uses it.
"""

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from muonlab.io.logs import note

# Modules that Snakemake makes each job import before its own.
SNAKEMAKE = ("snakemake.logging", "snakemake.iocontainers", "snakemake.script")
LIBRARY = Path(__file__).resolve().parents[1]
# Modules that the jobs import, including those that they import later (torch._dynamo is imported
# when an optimizer is built, and pyarrow.pandas_compat when a table is written).
TORCH = (
    *SNAKEMAKE,
    "torch._dynamo",
    "safetensors.torch",
    "safetensors.numpy",
    "pandas",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "tqdm",
    "scipy.sparse.linalg",
    "muonlab.training.run",
    "muonlab.training.images",
    "muonlab.training.language",
    "muonlab.models.mlp",
    "muonlab.models.transformer",
    *(f"muonlab.optim.{path.stem}" for path in sorted((LIBRARY / "optim").glob("[a-z]*.py"))),
    "muonlab.probes.job",
    "muonlab.probes.spectra",
    "muonlab.probes.curvature",
    "muonlab.probes.quantization",
    "muonlab.probes.descent",
    "muonlab.probes.direction",
)
TABLES = (
    *SNAKEMAKE,
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "scipy.stats",
    "seaborn",
    "muonlab.tuning.rounds",
    "muonlab.tuning.selection",
    "muonlab.report.given",
    "muonlab.report.style",
    *(
        f"muonlab.report.{kind}.{path.stem}"
        for kind in ("tables", "figures", "texts", "across")
        for path in sorted((LIBRARY / "report" / kind).glob("[a-z]*.py"))
    ),
)
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "TSTP", "CONT")
    if hasattr(signal, f"SIG{name}")
]
# Environment variables that differ from job to job but do not matter to any job.
NOISE = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
START = (
    "import json, sys; facts = json.loads(sys.argv[1]); fresh = list(sys.path);"
    "sys.path += facts.pop('path'); from muonlab.jobs.server import main; main(fresh, **facts)"
)

# The line by which a job's script hands itself over, and the exit status by which a child says that
# the script must run in a process of its own.
HANDS_OVER = re.compile(rb"^hand_over\(snakemake, (TORCH|TABLES)\)$", re.MULTILINE)
DECLINED = 119

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
        with _connect(_driver(), modules) as connection:
            outcome = _run_through(connection)
    except OSError as failure:
        note(f"no warm worker ({failure}): the job imports its modules itself")
        return
    _end_as(outcome)


def prefix() -> str:
    """What `shell.prefix` of Snakemake puts before each command, for jobs that run on this machine
    in Snakemake's own environment; its own prefix, if jobs cannot share imports here."""
    strict = "set -euo pipefail; "  # Snakemake's own
    if not _possible():
        return strict
    start = LIBRARY.parent / "warm_start.py"
    return f"{strict}{shlex.join([sys.executable, '-S', '-P', str(start)])} "


def run_command(command: list[str]) -> NoReturn:
    """Runs `command`, [python, script, …], in a child of a worker that is there already, and ends
    as it ended; or else replaces this process by it."""
    outcome = DECLINED
    with suppress(OSError):
        asked = HANDS_OVER.search(Path(command[1]).read_bytes()) if len(command) > 1 else None
        if asked and _possible():
            modules = {b"TORCH": TORCH, b"TABLES": TABLES}[asked[1]]
            sys.argv[:] = command[1:]
            with _reach(_address(_driver(), modules)) as connection:
                outcome = _run_through(connection)
    if outcome == DECLINED:
        os.execv(command[0], command)
    _end_as(outcome)


def _possible() -> bool:
    return (
        sys.platform == "linux"
        and hasattr(os, "pidfd_open")
        and os.environ.get("MUONLAB_WARM") != "0"
        and "SLURM_JOB_ID" not in os.environ
    )


def _suits(job) -> bool:
    return _possible() and job.threads == 1 and not job.resources.get("gpu")


def _driver() -> tuple[int, str]:
    """Process id and start time of the running Snakemake: the nearest parent process that is not a
    shell."""
    pid = os.getppid()
    while (facts := process(pid))[0] in SHELLS:
        pid = facts[1]
    return pid, facts[2]


def process(pid: int) -> tuple[str, int, str]:
    """Name, parent and start time of a process (proc(5), stat: fields 2, 4 and 22)."""
    before, _, after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], int(fields[1]), fields[19]


def _connect(driver: tuple[int, str], modules: tuple[str, ...]) -> socket.socket:
    """A connection to the worker. Starts a worker if there is none."""
    address = _address(driver, modules)
    for _ in range(100):
        try:
            return _reach(address)
        except ConnectionRefusedError:  # there is no such worker, or it does not listen yet
            if not _start(address, driver, modules):
                time.sleep(0.01)
    raise ConnectionRefusedError("it does not listen")


def _reach(address: str) -> socket.socket:
    """A connection to the worker with this address. Raises ConnectionRefusedError if there is
    none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(address)
        if peer(connection) != os.getuid():
            raise PermissionError("its name is taken by another user")
    except OSError:
        connection.close()
        raise
    return connection


def peer(connection: socket.socket) -> int:
    """The user id of the process at the other end."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return struct.unpack("3i", credentials)[1]


def _address(driver: tuple[int, str], modules: tuple[str, ...]) -> str:
    code = [(path.as_posix(), path.stat().st_mtime_ns) for path in sorted(LIBRARY.rglob("*.py"))]
    environment = sorted(pair for pair in os.environ.items() if pair[0] not in NOISE)
    facts = [os.getuid(), driver, sys.executable, modules, code, environment]
    return "\0muonlab-" + hashlib.sha256(repr(facts).encode()).hexdigest()


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
            # Arrow's allocator would start a thread; a process with several threads must not fork.
            env={"JE_ARROW_MALLOC_CONF": "background_thread:false"} | os.environ,
            start_new_session=True,
        )
    return True


def _run_through(connection: socket.socket) -> int:
    """Runs the job in a child of the worker. Returns its exit status, or minus the signal that
    ended it.

    The child holds the connection, too. If it closes without an answer, both the worker and the
    child have ended: this returns minus the signal that was passed on, or else raises
    ConnectionError.
    """
    request = {"arguments": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
    if (reply := connection.recv(256)) != b"started":
        raise ConnectionError(reply.decode() or "it ended before the job began")
    reply = b""
    with _passing_on(connection) as passed_on, suppress(ConnectionResetError):
        reply = connection.recv(256)
    if reply or passed_on:
        return int(reply) if reply else -passed_on[-1]
    raise ConnectionError("it ended in the middle of the job")


@contextmanager
def _passing_on(connection: socket.socket) -> Iterator[list[int]]:
    """Passes signals on to the child. Yields the list of those that are meant to end it."""
    passed_on = []

    def pass_on(number: int, _) -> None:
        if number not in (signal.SIGTSTP, signal.SIGCONT):
            passed_on.append(number)
        with suppress(OSError):  # the child may have ended just now
            connection.send(b"%d" % (signal.SIGSTOP if number == signal.SIGTSTP else number))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:  # the child ignores the same signals
            signal.signal(number, pass_on)
    try:
        yield passed_on
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end_as(outcome: int) -> NoReturn:
    """Ends this process with exit status `outcome`, or by signal -`outcome`."""
    if outcome < 0:
        if outcome != -signal.SIGKILL:
            signal.signal(-outcome, signal.SIG_DFL)
        os.kill(os.getpid(), -outcome)
    os._exit(outcome)
