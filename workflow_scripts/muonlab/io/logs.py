"""A job's log: everything that it prints goes there, one sentence of a mistake also to the user."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from muonlab.io.errors import UserError

_notes: list[str] = []


def note(sentence: str) -> None:
    """Keeps a sentence for the first lines of a log that is not open yet."""
    _notes.append(sentence)


@contextmanager
def logged(path: str | os.PathLike) -> Iterator[TextIO]:
    """Sends file descriptors 1 and 2 to `path`, C and CUDA output and tracebacks included.

    Yields the user's stderr, for progress bars. A UserError ends the process with its sentence on
    both; any other exception leaves its traceback in the log and a sentence that says where. A job
    that had nothing to say leaves no log.
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
        traceback.print_exc()
        _leave(user, f"error: {type(failure).__name__}: {failure} (traceback in {path})")


def _remove_if_empty(path: str | os.PathLike) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.path.getsize(path) == 0:
        os.unlink(path)


def _leave(user: TextIO, sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
    print(sentence, file=user, flush=True)
    # Not sys.exit: a background thread of a library must not keep a failed job alive.
    sys.stdout.flush()
    os._exit(1)
