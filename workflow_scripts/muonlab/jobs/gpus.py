"""Gives each job on this machine GPUs of its own.

Snakemake counts the resource `gpu` but does not say which GPU a job may use, so without a lease
every job would take the first. A job leases a slot of a GPU before it imports torch and keeps it
until its process ends, however it ends: a lease is a lock (flock(2)) on a file, which the kernel
releases with the process. Locks are shared by all of a user's invocations on the machine.

With one slot for each GPU, jobs on different GPUs never meet; with more, small runs share one, the
emptiest GPU first. A job that measures time takes all slots of its GPU. A job that finds no free
slot waits. Only GPUs that an inherited CUDA_VISIBLE_DEVICES lists are leased. Under SLURM, which
assigns GPUs itself, nothing is changed.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from muonlab.io.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.5
_held: list[int] = []  # open files with the locks of this process


def lease_gpus(
    count: int, slots: int = 1, alone: bool = False, folder: Path | None = None
) -> list[str]:
    """Leases `count` different GPUs and makes them the only ones that torch will see.

    `slots` is how many jobs may share a GPU; `alone` takes all slots of each. Returns the names of
    the GPUs; none, and nothing is changed, for a count of 0, under SLURM, and where the machine has
    no GPU (what needs one will say so). Waits while too few are free. Raises UserError if the
    machine has fewer, or for less than one slot, and RuntimeError if torch already uses a GPU.
    """
    if not count or "SLURM_JOB_ID" in os.environ:
        return []
    if slots < 1:
        raise UserError(f"gpu_slots: must be at least 1, not {slots}")
    gpus = visible_gpus()
    if not gpus:
        return []
    if count > len(gpus):
        raise UserError(f"gpu: a job asks for {count} GPUs, and this machine shows {len(gpus)}")
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        raise RuntimeError("lease_gpus: torch already uses a GPU; lease before the first use")
    folder = folder or Path(tempfile.gettempdir()) / f"muonlab-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")
    found = _wait_for(gpus, count, slots, alone, folder)
    os.environ[VISIBLE] = ",".join(found)
    return found


def visible_gpus() -> list[str]:
    """The GPUs that this process may use: those of an inherited CUDA_VISIBLE_DEVICES, else all of
    the machine; an empty list if there are none."""
    if VISIBLE in os.environ:
        # CUDA ignores what follows the first invalid entry, as -1 is.
        named = [name.strip() for name in os.environ[VISIBLE].split(",")]
        end = next((i for i, name in enumerate(named) if name in ("", "-1")), len(named))
        return named[:end]
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
        return answer.stdout.split()
    return []


def _wait_for(gpus: list[str], count: int, slots: int, alone: bool, folder: Path) -> list[str]:
    told = False
    while True:
        found = _take(gpus, count, slots, alone, folder)
        if found:
            return found
        if not told:
            print(f"waits for {count} of the GPUs {', '.join(gpus)}, which others use", flush=True)
            told = True
        time.sleep(POLL_SECONDS)


def _take(gpus: list[str], count: int, slots: int, alone: bool, folder: Path) -> list[str]:
    """The GPUs whose locks this process now holds, `count` of them, or none and no lock."""
    taken: dict[str, list[int]] = {}
    for slot in [None] if alone else range(slots):
        for gpu in gpus:
            if gpu not in taken and len(taken) < count:
                wanted = range(slots) if slot is None else [slot]
                locks = _lock([folder / f"{_file_name(gpu)}.{number}" for number in wanted])
                if locks:
                    taken[gpu] = locks
    if len(taken) < count:
        for locks in taken.values():
            _release(locks)
        return []
    _held.extend(lock for locks in taken.values() for lock in locks)
    return list(taken)


def _lock(files: list[Path]) -> list[int]:
    """Open files with an exclusive lock on each of `files`; none, and no lock, if one is taken."""
    locks: list[int] = []
    for file in files:
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locks.append(opened)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _release(locks)
            return []
    return locks


def _release(locks: list[int]) -> None:
    for opened in locks:
        os.close(opened)


def _file_name(gpu: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "_" for c in gpu)
