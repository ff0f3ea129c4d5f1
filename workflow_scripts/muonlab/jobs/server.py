"""The worker of `jobs/warm.py`: imports the modules once, then forks children that run jobs.

It serves one running Snakemake. It ends with that Snakemake, or if it has had no job for a while.
It has one thread and never computes anything, because a process in which threads of torch or OpenMP
have run must not fork. A job goes to a child that has finished another (`jobs/child.py`), or to a
new one. A child is killed if the process that handed its job over ends (as the job itself would
be), and if the worker ends.
"""

import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from muonlab.jobs import child, warm
from muonlab.jobs.client import peer, process

IDLE_SECONDS = 30
MOST_CHILDREN = 256  # each needs three of the 1,024 files that a process can usually have open
PR_SET_PDEATHSIG = 1


def main(fresh: list[str], listener: int, driver: tuple[int, str], modules: list[str]) -> None:
    """Serves on the socket `listener` (a file descriptor) until the process `driver` (process id,
    start time) ends. `fresh` is the import path of a new Python process."""
    warm.in_worker = True
    said = _import(modules)
    server = Server(socket.socket(fileno=listener), driver)
    control = server.serve()
    if control is not None:  # this is a child
        child.work(control, fresh, said)


def _import(modules: list[str]) -> bytes:
    """Imports the modules. Returns what they print meanwhile (warnings), for each job to show."""
    said = os.memfd_create("said")
    for stream in (1, 2):
        os.dup2(said, stream)
    for name in modules:
        # A module that cannot be imported makes the job that needs it fail with its own message.
        with suppress(Exception):
            importlib.import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    text = os.pread(said, os.fstat(said).st_size, 0)
    for stream in (1, 2):
        os.dup2(0, stream)  # the null device
    os.close(said)
    gc.collect()
    gc.freeze()  # otherwise the garbage collector would write to pages that children share
    return text


@dataclass(eq=False)
class Child:
    """A child, the worker's end of the socket between the two, and the job that it runs.

    `taken` says that it has read the job's request. A child that was sent a signal gets no further
    job, because the signal may come after the job's end."""

    pid: int
    control: socket.socket
    connection: socket.socket | None = None
    taken: bool = False
    signalled: bool = False


class Server:
    """Accepts one connection for each job.

    The job sends its request with its three standard streams, and later signals for the child. The
    worker answers `started`, and then with the outcome. `children` are those that run a job, by
    their jobs' connections, and `waiting` those that have finished one.
    """

    def __init__(self, listener: socket.socket, driver: tuple[int, str]):
        self.pid = os.getpid()
        self.children: dict[socket.socket, Child] = {}
        self.waiting: list[Child] = []
        self.driver_lives = True
        signal.signal(signal.SIGTERM, self._stop)
        # poll instead of epoll, whose state a forked child would share.
        self.selector = selectors.PollSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        try:
            self.selector.register(os.pidfd_open(driver[0]), selectors.EVENT_READ, self._lose)
            self.driver_lives = process(driver[0])[2] == driver[1]
        except (ProcessLookupError, FileNotFoundError):
            self.driver_lives = False

    def serve(self) -> socket.socket | None:
        """Serves until there is nothing more to do and returns None. In each child, returns the
        child's end of the socket to the worker."""
        while self.children or self.driver_lives:
            events = self.selector.select(IDLE_SECONDS)
            if not events and not self.children:
                break
            for key, _ in events:
                # An earlier handler may have closed this file, and its number may be in use again.
                valid = self.selector.get_map().get(key.fd) is key
                if valid and (control := key.data(key.fileobj)):
                    return control
        return None

    def _lose(self, pidfd: int) -> None:
        self.driver_lives = False
        self.selector.unregister(pidfd)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if peer(connection) != os.getuid():
            connection.close()
            return
        self.selector.register(connection, selectors.EVENT_READ, self._hear)

    def _hear(self, connection: socket.socket) -> socket.socket | None:
        """Handles what a job's process sends: a request, a signal for the child, or its own end."""
        try:
            message, streams, _, _ = socket.recv_fds(connection, child.LARGEST_REQUEST, 3)
        except ConnectionResetError:
            message, streams = b"", []
        busy = self.children.get(connection)
        if message and busy is None:
            return self._begin(connection, message, streams)
        if busy is None:
            self._forget(connection)
            return None
        busy.signalled = True
        os.kill(busy.pid, int(message) if message else signal.SIGKILL)
        if not message:
            self.selector.unregister(connection)
        return None

    def _begin(
        self, connection: socket.socket, request: bytes, streams: list[int]
    ) -> socket.socket | None:
        """Hands a job to a child, a new one if none is waiting. Returns None in the worker, and in
        a new child its end of the socket."""
        control = None
        if len(streams) < 3 or len(self.children) >= MOST_CHILDREN:
            _send(connection, b"it has too many jobs")
            self._forget(connection)
        elif not self.waiting and len(os.listdir("/proc/self/task")) > 1:
            _send(connection, b"it has several threads and cannot fork")
            self._forget(connection)
        elif self.waiting or (control := self._fork()) is None:
            self._hand_over(connection, request, streams)
        for stream in streams:
            os.close(stream)
        return control

    def _fork(self) -> socket.socket | None:
        """Makes a child that waits for a job. In the child, returns its end of the socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if pid := os.fork():
            theirs.close()
            new = Child(pid, ours)
            self.waiting.append(new)
            bury = partial(self._bury, new)
            self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, bury)
            self.selector.register(ours, selectors.EVENT_READ, partial(self._listen, new))
            return None
        ours.close()
        self._leave_to_child()
        return theirs

    def _hand_over(self, connection: socket.socket, request: bytes, streams: list[int]) -> None:
        """Sends a job to a child that waits. If that child has just died, the job is told so."""
        chosen = self.waiting.pop()
        try:
            socket.send_fds(chosen.control, [request], [connection.fileno(), *streams[:3]])
        except OSError:
            _send(connection, b"its child has ended")
            self._forget(connection)
            return
        chosen.connection, chosen.taken = connection, False
        self.children[connection] = chosen
        _send(connection, b"started")

    def _listen(self, speaker: Child, control: socket.socket) -> None:
        """Handles one word of a child, if it has said one."""
        try:
            message = control.recv(16, socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            message = b""
        if message == child.TAKEN:
            speaker.taken = True
        elif message == child.DONE:
            self._answer(speaker, b"0")
            if speaker.signalled:
                control.shutdown(socket.SHUT_WR)  # upon which the child ends
            else:
                self.waiting.append(speaker)
        elif control in self.selector.get_map():  # the child ends; `_bury` sees how
            self.selector.unregister(control)

    def _bury(self, ended: Child, pidfd: int) -> None:
        _, status = os.waitpid(ended.pid, 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        for _ in (child.TAKEN, child.DONE):  # at most these two have not been heard yet
            self._listen(ended, ended.control)
        ended.control.close()
        if ended in self.waiting:
            self.waiting.remove(ended)
        # A job that it has not taken gets no answer, upon which the job runs by itself.
        self._answer(ended, b"%d" % os.waitstatus_to_exitcode(status) if ended.taken else b"")

    def _answer(self, worked: Child, outcome: bytes) -> None:
        """Tells the job of a child, if it has one, how it ended."""
        if (connection := worked.connection) is None:
            return
        worked.connection = None
        del self.children[connection]
        if outcome:
            _send(connection, outcome)
        self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with suppress(KeyError):
            self.selector.unregister(connection)
        connection.close()

    def _stop(self, *_) -> None:
        """Handles SIGTERM: running jobs may finish, but no new ones begin."""
        if os.getpid() != self.pid or not self.children:
            os._exit(128 + signal.SIGTERM)
        self.driver_lives = False

    def _leave_to_child(self) -> None:
        """Turns this process into a child of the worker.

        It is killed if the worker ends, and it closes all of the worker's sockets and streams.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, int):
                os.close(key.fileobj)
            else:
                key.fileobj.close()


def _send(connection: socket.socket, message: bytes) -> None:
    with suppress(OSError):  # the process at the other end may have ended
        connection.send(message)
