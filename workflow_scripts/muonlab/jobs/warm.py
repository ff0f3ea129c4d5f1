"""Short jobs share their imports: a job hands itself to a worker that has them and waits.

`import torch` and what comes with it takes longer than most of the embedded study's jobs. The first
job of an invocation of Snakemake starts a worker (`jobs/server.py`), which imports once and then
forks a child for each job; the child runs the job's very script, with the job's own standard
streams, environment and working directory. The job's process stays, passes signals on and ends as
the child ended. Where anything about that fails, the job runs by itself, as it would without this.

A worker belongs to one user, one running Snakemake, one Python, one environment and one state of
the code: its socket is named after all of these. The name is an abstract one (unix(7)), so that no
file is left behind and only one process can have it; both sides check that the other is the same
user's. Linux only.

What a job makes is the same either way, but for its peak host memory: pages of libraries that only
their import touches are not a child's (about 75 MB of torch's, the same for every run). Snakemake's
`benchmark:` would measure the waiting process; no rule uses it.
"""

import hashlib
import json
import os
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

# Imported by each job before its own modules.
SNAKEMAKE = ("snakemake.logging", "snakemake.iocontainers", "snakemake.script")
# What the jobs import, late imports included (an optimizer imports torch._dynamo when it is built).
TORCH = (
    *SNAKEMAKE,
    "torch._dynamo",
    "safetensors.torch",
    "pandas",
    "pyarrow.parquet",
    "tqdm",
    "scipy.sparse.linalg",
    "muonlab.training.run",
    "muonlab.training.images",
    "muonlab.training.language",
    "muonlab.models.mlp",
    "muonlab.models.transformer",
    "muonlab.probes.job",
    "muonlab.probes.spectra",
    "muonlab.probes.curvature",
    "muonlab.probes.quantization",
    "muonlab.probes.direction",
)
TABLES = (
    *SNAKEMAKE,
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "scipy.stats",
    "seaborn",
    "muonlab.report.tables.contrasts",
    "muonlab.report.style",
)
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "TSTP", "CONT")
    if hasattr(signal, f"SIG{name}")
]
# Variables that differ from job to job and mean nothing to any of them.
NOISE = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
START = (
    "import json, sys; facts = json.loads(sys.argv[1]); fresh = list(sys.path);"
    "sys.path += facts.pop('path'); from muonlab.jobs.server import main; main(fresh, **facts)"
)

in_worker = False  # set by the worker: its children run their jobs themselves


def hand_over(job, modules: tuple[str, ...]) -> None:
    """Has a worker with `modules` run the script that this process was started with, and ends this
    process as the script ended; returns where the script has to go on by itself.

    `job` is Snakemake's object of that name. Jobs with a GPU or several threads, jobs of a cluster
    and those with MUONLAB_WARM=0 in their environment run by themselves.
    """
    if in_worker or not _suits(job):
        return
    try:
        with _connect(_driver(), modules) as connection:
            outcome = _run_through(connection)
    except OSError as failure:
        note(f"no warm worker ({failure}): the job imports its modules itself")
        return
    _end_as(outcome)


def _suits(job) -> bool:
    return (
        sys.platform == "linux"
        and hasattr(os, "pidfd_open")
        and os.environ.get("MUONLAB_WARM") != "0"
        and "SLURM_JOB_ID" not in os.environ
        and job.threads == 1
        and not job.resources.get("gpu")
    )


def _driver() -> tuple[int, str]:
    """Process id and start time of the running Snakemake: the nearest parent that is no shell."""
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
    """A connection to the worker, which is started where there is none."""
    address = _address(driver, modules)
    for _ in range(100):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(address)
            if peer(connection) != os.getuid():
                raise PermissionError("its name is taken by another user")
            return connection
        except ConnectionRefusedError:  # nobody has the name, or has it and does not listen yet
            connection.close()
            if not _start(address, driver, modules):
                time.sleep(0.01)
        except OSError:
            connection.close()
            raise
    raise ConnectionRefusedError("it does not listen")


def peer(connection: socket.socket) -> int:
    """The user at the other end."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return struct.unpack("3i", credentials)[1]


def _address(driver: tuple[int, str], modules: tuple[str, ...]) -> str:
    library = Path(__file__).resolve().parents[1]
    code = [(path.as_posix(), path.stat().st_mtime_ns) for path in sorted(library.rglob("*.py"))]
    environment = sorted(pair for pair in os.environ.items() if pair[0] not in NOISE)
    facts = [os.getuid(), driver, sys.executable, modules, code, environment]
    return "\0muonlab-" + hashlib.sha256(repr(facts).encode()).hexdigest()


def _start(address: str, driver: tuple[int, str], modules: tuple[str, ...]) -> bool:
    """Starts the worker, with a socket that already listens: requests wait until it has imported.
    False where another process has the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(address)
        except OSError:
            return False
        os.close(os.pidfd_open(driver[0]))  # fails where the worker could not watch its driver
        listener.listen(1024)
        facts = {"listener": listener.fileno(), "driver": driver, "modules": modules}
        subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps(facts | {"path": sys.path[1:]})],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            cwd="/",
            # Arrow's allocator would start a thread, and a process with threads must not fork.
            env={"JE_ARROW_MALLOC_CONF": "background_thread:false"} | os.environ,
            start_new_session=True,
        )
    return True


def _run_through(connection: socket.socket) -> int:
    """How the job ended in a child of the worker: its exit status, or minus its signal.

    The child holds the connection too, so that its end without a word means that neither the worker
    nor the child is alive (ConnectionError, or the signal that was meant for the child).
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
    """Passes signals on to the child, and yields those that are to end it."""
    passed_on = []

    def pass_on(number: int, _) -> None:
        if number not in (signal.SIGTSTP, signal.SIGCONT):
            passed_on.append(number)
        with suppress(OSError):  # it may have ended just now
            connection.send(b"%d" % (signal.SIGSTOP if number == signal.SIGTSTP else number))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:  # what is ignored is so in the child too
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
