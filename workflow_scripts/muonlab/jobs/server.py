"""The worker of `jobs/warm.py`: imports once, then forks a child for each job that comes.

It serves one running Snakemake and leaves with it, or when it has had nothing to do for a while. It
has one thread and never computes anything: a process in which torch's or OpenMP's threads have run
must not fork. Its children are killed when the process that handed them over is gone, as the job
itself would be, and when the worker is.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import types
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from muonlab.jobs import warm
from muonlab.jobs.warm import peer, process

IDLE_SECONDS = 30
MOST_CHILDREN = 256  # each takes two of the 1,024 files that a process may usually have open
PR_SET_PDEATHSIG = 1


def main(fresh: list[str], listener: int, driver: tuple[int, str], modules: list[str]) -> None:
    """Serves on the socket `listener` (a file descriptor) until `driver` (process id, start time)
    ends; `fresh` is the import path that a new Python has."""
    warm.in_worker = True
    said = _import(modules)
    server = Server(socket.socket(fileno=listener), driver)
    request = server.serve()
    if request is not None:  # this is a child
        os.write(2, said)
        _run(request, fresh)


def _import(modules: list[str]) -> bytes:
    """Imports the modules; returns what they print then (warnings), which each job has to show."""
    said = os.memfd_create("said")
    for stream in (1, 2):
        os.dup2(said, stream)
    for name in modules:
        # What cannot be imported fails in the job that needs it, and says so there.
        with suppress(Exception):
            importlib.import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    text = os.pread(said, os.fstat(said).st_size, 0)
    for stream in (1, 2):
        os.dup2(0, stream)  # the null device
    os.close(said)
    gc.collect()
    gc.freeze()  # the collector's marks would copy the shared pages into each child
    return text


class Server:
    """One connection for each job: the request with its three streams, then signals for the child
    in one direction, and `started` and the outcome in the other."""

    def __init__(self, listener: socket.socket, driver: tuple[int, str]):
        self.pid = os.getpid()
        self.children: dict[socket.socket, int] = {}
        self.driver_lives = True
        signal.signal(signal.SIGTERM, self._stop)
        # Not epoll: a forked child would share its state.
        self.selector = selectors.PollSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        try:
            self.selector.register(os.pidfd_open(driver[0]), selectors.EVENT_READ, self._lose)
            self.driver_lives = process(driver[0])[2] == driver[1]
        except (ProcessLookupError, FileNotFoundError):
            self.driver_lives = False

    def serve(self) -> dict | None:
        """Serves to the end and returns None; in each child, returns its request."""
        while self.children or self.driver_lives:
            events = self.selector.select(IDLE_SECONDS)
            if not events and not self.children:
                break
            for key, _ in events:
                # A handler before this one may have closed it, and taken its number anew.
                valid = self.selector.get_map().get(key.fd) is key
                if valid and (request := key.data(key.fileobj)):
                    return request
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

    def _hear(self, connection: socket.socket) -> dict | None:
        """A request, a signal for the child, or the end of the process that asked."""
        try:
            message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        except ConnectionResetError:
            message, streams = b"", []
        child = self.children.get(connection)
        if message and child is None:
            return self._begin(connection, json.loads(message), streams)
        if child is None:
            self._forget(connection)
        elif message:
            os.kill(child, int(message))
        else:
            os.kill(child, signal.SIGKILL)
            self.selector.unregister(connection)
        return None

    def _begin(self, connection: socket.socket, request: dict, streams: list[int]) -> dict | None:
        """Forks a child, in which this returns the request."""
        if len(os.listdir("/proc/self/task")) > 1:
            _send(connection, b"it has several threads and cannot fork")
            self._forget(connection)
        elif len(streams) < 3 or len(self.children) >= MOST_CHILDREN:
            _send(connection, b"it has too many jobs")
            self._forget(connection)
        elif child := os.fork():
            self.children[connection] = child
            bury = partial(self._bury, connection)
            self.selector.register(os.pidfd_open(child), selectors.EVENT_READ, bury)
            _send(connection, b"started")
        else:
            self._leave_to_child(connection, streams)
            return request
        for stream in streams:
            os.close(stream)
        return None

    def _bury(self, connection: socket.socket, pidfd: int) -> None:
        _, status = os.waitpid(self.children.pop(connection), 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        _send(connection, b"%d" % os.waitstatus_to_exitcode(status))
        self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with suppress(KeyError):
            self.selector.unregister(connection)
        connection.close()

    def _stop(self, *_) -> None:
        """SIGTERM, to all of a service, say: jobs may end in their own way, no new ones begin."""
        if os.getpid() != self.pid or not self.children:
            os._exit(128 + signal.SIGTERM)
        self.driver_lives = False

    def _leave_to_child(self, connection: socket.socket, streams: list[int]) -> None:
        """Makes a child of this process: it dies with the worker, has the job's streams, and of the
        sockets keeps its own one alone, which tells the job's process that it lives."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, int):
                os.close(key.fileobj)
            elif key.fileobj is not connection:
                key.fileobj.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        connection.detach()  # stays open to the end of the process


def _send(connection: socket.socket, message: bytes) -> None:
    with suppress(OSError):  # whoever asked is gone
        connection.send(message)


def _run(request: dict, fresh: list[str]) -> NoReturn:
    """Runs the request's script as a new Python would, and ends this process."""
    _become(request, fresh)
    sys.excepthook = _show
    script = Path(sys.argv[0])
    exec(compile(script.read_bytes(), script, "exec"), sys.modules["__main__"].__dict__)
    # As multiprocessing ends its forked children: taking torch apart costs 0.2 s and many pages.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _become(request: dict, fresh: list[str]) -> None:
    """Gives this process what differs between two new Pythons."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    sys.path[:] = [os.path.dirname(sys.argv[0]), *fresh]
    if not sys.stdout.write_through:  # PYTHONUNBUFFERED
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = sys.argv[0]
    if "numpy" in sys.modules:  # as its import does; random does so itself after a fork
        sys.modules["numpy"].random.seed()


def _show(kind: type, failure: BaseException, trace: types.TracebackType) -> None:
    """Shows an exception as a new Python does, from the script's frame on."""
    while trace.tb_next and trace.tb_frame.f_code.co_filename != sys.argv[0]:
        trace = trace.tb_next
    sys.__excepthook__(kind, failure.with_traceback(trace), trace)
