"""An advisory lock, so that only one process works in a run's folder. It is released when the
process that holds it ends, however it ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive(path: str | os.PathLike, poll_seconds: float = 1.0) -> Iterator[bool]:
    """Holds an exclusive lock on `path`. If another process holds it, waits for that one to end.

    Yields whether it had to wait: then the other process may have made the results, and there may
    be nothing left to do. The lock file names the process that holds it and is removed at the end.
    """
    file, waited = Path(path), False
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, poll_interval=poll_seconds, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        holder = "holder unknown"
        with suppress(OSError):  # the other process may have ended meanwhile
            holder = file.read_text().strip() or holder
        print(f"waiting: another process is working on this run ({holder})", flush=True)
        lock.acquire()
    try:
        file.write_text(f"pid {os.getpid()} on {socket.gethostname()}\n")
        yield waited
    finally:
        # The file is removed before the lock is released, so that a process that has already opened
        # it notices that its name is gone.
        file.unlink(missing_ok=True)
        lock.release()
