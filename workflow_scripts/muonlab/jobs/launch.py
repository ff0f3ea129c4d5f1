"""Starts the processes that train one run together, by torchrun, and waits for them."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "train_member.py"
PATHS = ("data", "folder")  # arguments that are paths


def train_together(processes: int, **arguments: Any) -> None:
    """Trains a run with several processes on this machine. `arguments` are those of
    `training.run.train_run` without `progress` and `team`; `threads` are those of all processes
    together. On SIGTERM the processes save the run's state, and this one exits with 143.

    Raises UserError if threads or GPUs are too few, and RuntimeError if a process failed; what it
    said is in the log.
    """
    threads = arguments["threads"]
    if arguments["device"] == "cpu" and threads < processes:
        raise UserError(
            f"train: {processes} processes (resource processes) need as many threads, and the rule "
            f"has {threads}; give it more with --set-threads"
        )
    job = arguments | {"threads": max(1, threads // processes)}
    job |= {name: str(arguments[name]) for name in PATHS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job))
        code, asked = _run(command(processes, file))
    if asked:
        raise SystemExit(128 + signal.SIGTERM)
    if code:
        raise RuntimeError(f"one of {processes} processes failed; what it said is above")


def command(processes: int, job: Path) -> list[str]:
    """The command line of torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*torchrun, f"--nproc-per-node={processes}", str(SCRIPT), str(job)]


def _run(command: list[str]) -> tuple[int, bool]:
    """Exit status of the command, and whether this process was asked to stop meanwhile."""
    asked: list[int] = []
    with subprocess.Popen(command) as started:

        def pass_on(number: int, _) -> None:
            asked.append(number)
            started.send_signal(number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            code = started.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
    return code, bool(asked)
