"""The log of a job. Everything that the job prints goes there; if it fails, one sentence is also
shown to the user."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from muonlab.io.errors import UserError, first_line

_notes: list[str] = []


def note(sentence: str) -> None:
    """Stores a sentence that is printed at the start of the log as soon as the log is opened."""
    _notes.append(sentence)


@contextmanager
def logged(path: str | os.PathLike) -> Iterator[TextIO]:
    """Redirects file descriptors 1 and 2 to `path`, so that it also gets tracebacks and the output
    of C libraries and CUDA.

    Yields the user's stderr, for progress bars. A UserError ends the process and prints its
    sentence to the log and to the user. For any other exception the log gets the traceback, and the
    user a sentence that names the log. If the job printed nothing, its log is removed.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    user = os.fdopen(os.dup(2), "w", buffering=1)
    with open(path, "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    for sentence in _notes:
        print(sentence, flush=True)
    try:
        yield user
        _remove_if_empty(path)
    except UserError as mistake:
        _leave(user, f"error: {mistake}")
    except Exception as failure:
        with suppress(OSError):  # the disk of the log may be full
            traceback.print_exc()
        said = f"{type(failure).__name__}: {first_line(failure)}"
        _leave(user, f"error: {said} (traceback in {path})")


def remove_empty_logs(folder: str | os.PathLike) -> None:
    """Removes the logs of jobs that had nothing to say, which Snakemake makes anew, and the folders
    that held nothing else."""
    for path in sorted(Path(folder).rglob("*"), reverse=True):  # files before their folders
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.stat().st_size == 0:
            path.unlink()


def _remove_if_empty(path: str | os.PathLike) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.path.getsize(path) == 0:
        os.unlink(path)


def _leave(user: TextIO, sentence: str) -> None:
    print(sentence, file=user, flush=True)
    with suppress(OSError):  # the disk of the log may be full
        print(sentence, file=sys.stderr, flush=True)
    # os._exit instead of sys.exit, so that no background thread of a library keeps the job alive.
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(1)
