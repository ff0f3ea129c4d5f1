"""A child of the worker (`jobs/server.py`): runs one job after the other, each as if it were alone.

A forked process is new to all of its memory, and the page faults take much of a short job's time. A
child that has finished a job therefore waits for the next one. Between two jobs everything is put
back that our jobs use of their process: folder, environment, arguments, import path, streams,
signals, umask, generators of random numbers, warnings, and the highest mark of its memory. The
processor time of the process goes on: a job takes differences of it. Only a job that came to the
end of its script, was short and left neither a thread nor much memory behind lets its process go
on; with any other the process ends, as it would have ended without a worker.
"""

import atexit
import ctypes
import gc
import os
import random
import signal
import socket
import sys
import threading
import time
import types
import warnings
from ast import literal_eval
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

# What a child tells the worker: that it has read a request, and that the job came to its end.
TAKEN, DONE = b"taken", b"done"
# A long job gains nothing by a process that is warm, and leaves more behind in its memory.
LONGEST_SECONDS = 10.0
MOST_JOBS = 100
# What jobs may leave behind in a process that can train: a run records the most memory that its
# process had.
MOST_BYTES_LEFT = 32 << 20
LARGEST_REQUEST = 1 << 20


def work(control: socket.socket, fresh: list[str], said: bytes) -> NoReturn:
    """Runs the jobs that the worker sends over `control`, and ends when it sends no more.

    Each message is a request with four files: the connection to the job's process, which stays open
    as long as the job runs, and the job's standard streams. `fresh` is the import path of a new
    Python process, `said` what the worker's modules printed when they were imported.
    """
    null = os.open(os.devnull, os.O_RDWR)
    state = State()
    # What the worker's modules have registered takes time, and a child needs none of it.
    atexit._clear()
    for number in range(1, MOST_JOBS + 1):
        message, files, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 4)
        if not message:
            break
        control.send(TAKEN)
        connection, *streams = files
        os.set_inheritable(connection, False)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        state.restore(literal_eval(message.decode()), fresh)
        began = time.monotonic()
        os.write(2, said)
        with warnings.catch_warnings():  # a warning of an earlier job is given once more
            _run()
        long = time.monotonic() - began > LONGEST_SECONDS
        if number == MOST_JOBS or long or threading.active_count() > 1:
            break
        _finish()
        # What the script still holds goes, such as a copy of a stream that its job's user waits on.
        vars(sys.modules["__main__"]).clear()
        if state.left_behind() > MOST_BYTES_LEFT:
            break
        for target in range(3):
            os.dup2(null, target)
        # From here on the worker may send another job.
        control.send(DONE)
        os.close(connection)
    threading._shutdown()
    _finish()
    # Ends as multiprocessing's forked children do, because a regular exit takes torch apart, which
    # costs 0.2 s and copies many pages.
    os._exit(0)


def _finish() -> None:
    """Does what Python does at the end of a process for what the script has left to be done."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


def _run() -> None:
    """Runs the script that is named by the arguments."""
    script = Path(sys.argv[0])
    exec(compile(script.read_bytes(), script, "exec"), sys.modules["__main__"].__dict__)


class State:
    """What a job sees of its process and may change, as it is before the first job."""

    def __init__(self):
        numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
        self.signals = {number: signal.getsignal(number) for number in numbers}
        self.umask = os.umask(0)
        self.memory = _own_memory()

    def restore(self, request: Mapping, fresh: list[str]) -> None:
        """Sets everything that a new Python process would have for the job of this request."""
        os.umask(self.umask)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[:] = request["arguments"]
        sys.path[:] = [os.path.dirname(sys.argv[0]), *fresh]
        sys.excepthook = _show
        if not sys.stdout.write_through:  # PYTHONUNBUFFERED
            sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        main.__file__ = sys.argv[0]
        for number, handler in self.signals.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
        _seed()
        _forget_peak()

    def left_behind(self) -> int:
        """Bytes that the jobs so far have not given back; 0 in a process that trains nothing."""
        if "torch" not in sys.modules:
            return 0
        gc.collect()
        with suppress(AttributeError):  # another C library than GNU's
            ctypes.CDLL(None).malloc_trim(0)
        return _own_memory() - self.memory


def _own_memory() -> int:
    """Bytes of this process that belong to no file (proc(5), statm)."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _seed() -> None:
    """Seeds the global generators of random numbers from the system, as a new process does."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()


def _forget_peak() -> None:
    """Resets the largest size that this process has had (proc(5), clear_refs)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _show(kind: type, failure: BaseException, trace: types.TracebackType) -> None:
    """Prints an exception as a new Python process would, starting at the frame of the script."""
    while trace.tb_next and trace.tb_frame.f_code.co_filename != sys.argv[0]:
        trace = trace.tb_next
    sys.__excepthook__(kind, failure.with_traceback(trace), trace)
