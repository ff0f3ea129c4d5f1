"""One process per run folder: an advisory lock that dies with its holder."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def exclusive(path: str | os.PathLike, poll_seconds: float = 1.0) -> Iterator[bool]:
    """Holds an exclusive flock on `path`, waiting for its holder to end where there is one.

    Yields whether it had to wait: a second comer then finds the first one's results and can leave.
    The file names its holder and is removed at the end.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while (file := _try(path)) is None:
        if not waited:
            print(f"waiting: another process works on this run ({_holder(path)})", flush=True)
        waited = True
        time.sleep(poll_seconds)
    try:
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield waited
    finally:
        # Removed before it is released: whoever opened it meanwhile sees that the name is gone.
        Path(path).unlink(missing_ok=True)
        file.close()


def _try(path: str | os.PathLike) -> TextIO | None:
    """The locked file, or None where another process holds it or has just removed it."""
    file = open(path, "a+")  # noqa: SIM115 (it stays open as long as the lock is held)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            file.truncate(0)
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


def _holder(path: str | os.PathLike) -> str:
    try:
        return Path(path).read_text().strip() or "holder unknown"
    except OSError:
        return "holder unknown"
