"""Hands a job's script to a worker that is there already (`jobs/warm.py` says what that is for).

Every job of an invocation begins with this module, so it imports next to nothing: each module that
it leaves out (json, re, contextlib, subprocess …) saves milliseconds of every job. Of `signal`,
`socket` and `hashlib` it uses the parts that are written in C, since the modules themselves import
enum and more, which takes twice as long as starting Python.
"""

import _signal as signal
import _socket as socket
import os
import sys

try:
    from _blake2 import blake2b
except ImportError:  # a Python that was built without it
    from hashlib import blake2b

from muonlab.jobs.modules import LIBRARY, TABLES, TORCH

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
SIGNALS = [
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "TSTP", "CONT")
    if hasattr(signal, f"SIG{name}")
]
# Environment variables that differ from job to job but do not matter to any job.
NOISE = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
# The line by which a job's script hands itself over, and the exit status by which a child says that
# the script must run in a process of its own.
HANDS_OVER = {
    b"\nhand_over(snakemake, TORCH)\n": TORCH,
    b"\nhand_over(snakemake, TABLES)\n": TABLES,
}
DECLINED = 119


def run_command(command: list[str]) -> None:
    """Runs `command`, [python, script, …], in a child of a worker that is there already, and ends
    as it ended; or else replaces this process by it. Never returns."""
    outcome = DECLINED
    try:
        modules = _modules_of(command[1]) if len(command) > 1 else None
        if modules and possible():
            sys.argv[:] = command[1:]
            outcome = run_through(reach(address_of(snakemake_above(), modules)))
    except OSError:
        pass
    if outcome == DECLINED:
        os.execv(command[0], command)
    end_as(outcome)


def _modules_of(script: str) -> tuple[str, ...] | None:
    """The modules of the worker that the script hands itself over to, if it does."""
    with open(script, "rb") as file:
        text = file.read()
    return next((modules for line, modules in HANDS_OVER.items() if line in text), None)


def possible() -> bool:
    return (
        sys.platform == "linux"
        and hasattr(os, "pidfd_open")
        and os.environ.get("MUONLAB_WARM") != "0"
        and "SLURM_JOB_ID" not in os.environ
    )


def snakemake_above() -> tuple[int, str]:
    """Process id and start time of the running Snakemake: the nearest parent process that is not a
    shell."""
    pid = os.getppid()
    while (facts := process(pid))[0] in SHELLS:
        pid = facts[1]
    return pid, facts[2]


def process(pid: int) -> tuple[str, int, str]:
    """Name, parent and start time of a process (proc(5), stat: fields 2, 4 and 22)."""
    with open(f"/proc/{pid}/stat") as file:
        before, _, after = file.read().rpartition(")")
    fields = after.split()
    return before.partition("(")[2], int(fields[1]), fields[19]


def reach(address: str) -> socket.socket:
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
    # unix(7), ucred: process, user, group, of four bytes each.
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def address_of(driver: tuple[int, str], modules: tuple[str, ...]) -> str:
    """The name of the worker's socket."""
    environment = sorted(pair for pair in os.environ.items() if pair[0] not in NOISE)
    facts = [os.getuid(), driver, sys.executable, modules, _code(LIBRARY), environment]
    return "\0muonlab-" + blake2b(repr(facts).encode(), digest_size=32).hexdigest()


def _code(folder: str) -> list[tuple]:
    """The names of all Python files in a folder, and when they were written."""
    found, within = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                found.append((entry.path, entry.stat().st_mtime_ns))
            elif entry.is_dir() and entry.name != "__pycache__":
                within.append(entry.path)
    return sorted(found) + [file for path in sorted(within) for file in _code(path)]


def run_through(connection: socket.socket) -> int:
    """Runs the job in a child of the worker, and closes the connection. Returns the job's exit
    status, or minus the signal that ended it.

    The child holds the connection, too. If it closes without an answer, both the worker and the
    child have ended: this returns minus the signal that was passed on, or else raises
    ConnectionError.
    """
    request = {"arguments": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    try:
        with_it = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)]
        connection.sendmsg([repr(request).encode()], with_it)
        if (reply := connection.recv(256)) != b"started":
            raise ConnectionError(reply.decode() or "it ended before the job began")
        return _outcome(connection)
    finally:
        connection.close()


def _outcome(connection: socket.socket) -> int:
    """Waits for the job's end, and passes signals on to the child meanwhile."""
    passed_on = []  # those that are meant to end it

    def pass_on(number: int, _) -> None:
        if number not in (signal.SIGTSTP, signal.SIGCONT):
            passed_on.append(number)
        try:  # noqa: SIM105 (contextlib is one of the modules that are left out)
            connection.send(b"%d" % (signal.SIGSTOP if number == signal.SIGTSTP else number))
        except OSError:  # the child may have ended just now
            pass
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:  # the child ignores the same signals
            signal.signal(number, pass_on)
    try:
        reply = connection.recv(256)
    except ConnectionResetError:
        reply = b""
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if reply or passed_on:
        return int(reply) if reply else -passed_on[-1]
    raise ConnectionError("it ended in the middle of the job")


def end_as(outcome: int) -> None:
    """Ends this process with exit status `outcome`, or by signal -`outcome`. Never returns."""
    if outcome < 0:
        if outcome != -signal.SIGKILL:
            signal.signal(-outcome, signal.SIG_DFL)
        os.kill(os.getpid(), -outcome)
    os._exit(outcome)
