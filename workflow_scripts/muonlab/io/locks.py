"""A lock, so that only one process works in a run's folder. It is released when the process that
holds it ends, however it ends.

It is an flock, which also holds between the machines of a shared file system. Where the file system
has none (Lustre that was mounted without it, some network drives), a lease takes its place: a file
that its holder refreshes, and that another process may take over once it has not changed for
`LEASE_SECONDS`.
"""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

LEASE_SECONDS = 120.0
NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def exclusive(
    path: str | os.PathLike, poll_seconds: float = 1.0, lease_seconds: float = LEASE_SECONDS
) -> Iterator[bool]:
    """Holds an exclusive lock on `path`. If another process holds it, waits for that one to end.

    Yields whether it had to wait: then the other process may have made the results, and there may
    be nothing left to do. The lock file names the process that holds it and is removed at the end.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, poll_interval=poll_seconds, fallback_to_soft=False)
    try:
        waited = _acquired_late(lock, lambda: file)
    except OSError as failure:
        if failure.errno not in NO_FLOCK:
            raise
        lock = None
    if lock is None:
        with _leased(file, poll_seconds, lease_seconds) as waited:
            yield waited
        return
    try:
        file.write_text(f"pid {os.getpid()} on {socket.gethostname()}\n")
        yield waited
    finally:
        # The file is removed before the lock is released, so that a process that has already opened
        # it notices that its name is gone.
        file.unlink(missing_ok=True)
        lock.release()


def _acquired_late(lock: BaseFileLock, holder_file: Callable[[], Path]) -> bool:
    """Acquires the lock and returns whether that took waiting for another process."""
    try:
        lock.acquire(timeout=0)
        return False
    except Timeout:
        holder = "holder unknown"
        with suppress(OSError):  # the other process may have ended meanwhile
            holder = " ".join(holder_file().read_text().split()) or holder
        print(f"waiting: another process is working on this run ({holder})", flush=True)
        lock.acquire()
        return True


@contextmanager
def _leased(file: Path, poll_seconds: float, lease_seconds: float) -> Iterator[bool]:
    """As `exclusive`, with a lease. A process that loses its lease (because it was suspended, say)
    is asked to end as if by SIGTERM; its last checkpoint stays."""
    file.unlink(missing_ok=True)  # left by the attempt to lock it
    marker = file.with_name(f"{file.name}-lease")
    print(
        f"{file.parent} has no file locks (flock): a lease keeps other processes away", flush=True
    )
    lease = SoftFileLease(
        marker,
        lease_duration=lease_seconds,
        on_compromise=lambda _: os.kill(os.getpid(), signal.SIGTERM),
        poll_interval=poll_seconds,
    )
    waited = _acquired_late(lease, lambda: marker)
    try:
        yield waited
    finally:
        lease.release()
