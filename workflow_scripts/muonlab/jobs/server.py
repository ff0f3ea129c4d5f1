"""The worker of `jobs/warm.py`: imports the modules once, then forks a child for each job.

It serves one running Snakemake. It ends with that Snakemake, or if it has had no job for a while.
It has one thread and never computes anything, because a process in which threads of torch or OpenMP
have run must not fork. A child is killed if the process that handed its job over ends (as the job
itself would be), and if the worker ends.
"""

import atexit
import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import types
from ast import literal_eval
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from muonlab.jobs import warm
from muonlab.jobs.client import peer, process

IDLE_SECONDS = 30
MOST_CHILDREN = 256  # each needs two of the 1,024 files that a process can usually have open
PR_SET_PDEATHSIG = 1


def main(fresh: list[str], listener: int, driver: tuple[int, str], modules: list[str]) -> None:
    """Serves on the socket `listener` (a file descriptor) until the process `driver` (process id,
    start time) ends. `fresh` is the import path of a new Python process."""
    warm.in_worker = True
    said = _import(modules)
    server = Server(socket.socket(fileno=listener), driver)
    request = server.serve()
    if request is not None:  # this is a child
        os.write(2, said)
        _run(request, fresh)


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


class Server:
    """Accepts one connection for each job.

    The job sends its request with its three standard streams, and later signals for the child. The
    worker answers `started`, and then with the outcome.
    """

    def __init__(self, listener: socket.socket, driver: tuple[int, str]):
        self.pid = os.getpid()
        self.children: dict[socket.socket, int] = {}
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

    def serve(self) -> dict | None:
        """Serves until there is nothing more to do and returns None. In each child, returns the
        child's request."""
        while self.children or self.driver_lives:
            events = self.selector.select(IDLE_SECONDS)
            if not events and not self.children:
                break
            for key, _ in events:
                # An earlier handler may have closed this file, and its number may be in use again.
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
        """Handles what a job's process sends: a request, a signal for the child, or its own end."""
        try:
            message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        except ConnectionResetError:
            message, streams = b"", []
        child = self.children.get(connection)
        if message and child is None:
            return self._begin(connection, literal_eval(message.decode()), streams)
        if child is None:
            self._forget(connection)
        elif message:
            os.kill(child, int(message))
        else:
            os.kill(child, signal.SIGKILL)
            self.selector.unregister(connection)
        return None

    def _begin(self, connection: socket.socket, request: dict, streams: list[int]) -> dict | None:
        """Forks a child. Returns the request in the child, and None in the worker."""
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
        """Handles SIGTERM: running jobs may finish, but no new ones begin."""
        if os.getpid() != self.pid or not self.children:
            os._exit(128 + signal.SIGTERM)
        self.driver_lives = False

    def _leave_to_child(self, connection: socket.socket, streams: list[int]) -> None:
        """Turns this process into a child of the worker.

        It is killed if the worker ends, and it uses the job's standard streams. It closes all
        sockets except its own connection, which shows the job's process that it is alive.
        """
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
    with suppress(OSError):  # the process at the other end may have ended
        connection.send(message)


def _run(request: dict, fresh: list[str]) -> NoReturn:
    """Runs the request's script as a new Python would, and ends this process."""
    _become(request, fresh)
    sys.excepthook = _show
    # What the worker's modules have registered takes time, and a child needs none of it.
    atexit._clear()
    script = Path(sys.argv[0])
    exec(compile(script.read_bytes(), script, "exec"), sys.modules["__main__"].__dict__)
    # Ends as multiprocessing's forked children do, because a regular exit takes torch apart, which
    # costs 0.2 s and copies many pages.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _become(request: dict, fresh: list[str]) -> None:
    """Sets everything that a new Python process would have for this job: folder, environment,
    arguments and import path."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = request["arguments"]
    sys.path[:] = [os.path.dirname(sys.argv[0]), *fresh]
    if not sys.stdout.write_through:  # PYTHONUNBUFFERED
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = sys.argv[0]
    if "numpy" in sys.modules:  # importing numpy seeds it; `random` is seeded anew after a fork
        sys.modules["numpy"].random.seed()


def _show(kind: type, failure: BaseException, trace: types.TracebackType) -> None:
    """Prints an exception as a new Python process would, starting at the frame of the script."""
    while trace.tb_next and trace.tb_frame.f_code.co_filename != sys.argv[0]:
        trace = trace.tb_next
    sys.__excepthook__(kind, failure.with_traceback(trace), trace)
