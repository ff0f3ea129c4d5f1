"""One process per run folder: an advisory lock that dies with its holder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive(path: str | os.PathLike, poll_seconds: float = 1.0) -> Iterator[bool]:
    """Holds an exclusive lock on `path`, waiting for its holder to end where there is one.

    Yields whether it had to wait: a second comer then finds the first one's results and can leave.
    The file names its holder and is removed at the end.
    """
    file, waited = Path(path), False
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, poll_interval=poll_seconds, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waited = True
        holder = "holder unknown"
        with suppress(OSError):  # it may have ended meanwhile
            holder = file.read_text().strip() or holder
        print(f"waiting: another process works on this run ({holder})", flush=True)
        lock.acquire()
    try:
        file.write_text(f"pid {os.getpid()} on {socket.gethostname()}\n")
        yield waited
    finally:
        # Removed before it is released: whoever opened it meanwhile sees that the name is gone.
        file.unlink(missing_ok=True)
        lock.release()
