"""Digests of the code that a job runs: its script and every module of this package that it imports.

Snakemake does not notice edits in imported modules, so each rule has such a digest among its
params. It is computed from the syntax tree without docstrings: editing comments, docstrings or
formatting does not change it, editing code does.

A training job has two digests. One covers the code that determines the weights and the metrics,
which is everything that the training loop imports; editing it retrains the runs. The other covers
the rest of the job's code, which only observes and saves the run. That digest is stored with the
records, and editing this code retrains nothing.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from muonlab.parsed import Parsed, parsed_modules

SCRIPTS = Path(__file__).resolve().parents[1]
TRAINING_JOB = "train.py"
TRAINING_LOOP = "muonlab/training/loop.py"
STARTING = "muonlab/jobs/warm.py"  # left out: how a job starts does not change its results
NONE: frozenset[str] = frozenset()


@cache
def code_digest(
    *entries: str,
    alternatives: frozenset[str] = NONE,
    chosen: frozenset[str] = NONE,
    root: Path = SCRIPTS,
) -> str:
    """Hex digest of the files `entries`, given as paths relative to `root`, and of all modules that
    they import.

    Of the modules `alternatives` a job uses only those in `chosen`, so the others do not count. A
    job may import them by a name that it computes, as a run does with its optimizer.
    """
    unused = {_file(name, root) for name in alternatives - chosen} | {root / STARTING}
    for name in chosen:
        unused -= closure([_file(name, root)], root)
    return _digest(closure([root / entry for entry in entries], root, frozenset(unused)), root)


@cache
def training_digest(
    chosen: frozenset[str], alternatives: frozenset[str], root: Path = SCRIPTS
) -> str:
    """The digest of the code that determines a run's weights.

    Of the `alternatives` (optimizers, models, kinds of data) only those that the run has `chosen`
    count, even if they are imported by a computed name.
    """
    own = [f"{name.replace('.', '/')}.py" for name in sorted(chosen)]
    return code_digest(TRAINING_LOOP, *own, alternatives=alternatives, chosen=chosen, root=root)


@cache
def observer_digest(root: Path = SCRIPTS) -> str:
    """The digest of the training job's code that does not affect the weights: observers,
    checkpoints, and writing the files of a run."""
    return _digest(observing(root), root)


def observing(root: Path = SCRIPTS) -> set[Path]:
    """The modules that the training job imports but the training loop does not."""
    return closure([root / TRAINING_JOB], root) - closure([root / TRAINING_LOOP], root)


def closure(
    entries: Iterable[Path], root: Path, without: frozenset[Path] = frozenset()
) -> set[Path]:
    """`entries` and the modules under `root` that they import, directly or indirectly.

    Modules in `without` are left out, and their imports are not followed.
    """
    found: set[Path] = set()
    waiting = list(entries)
    while waiting:
        path = waiting.pop()
        if path not in found and path not in without:
            found.add(path)
            waiting.extend(_local(path, root))
    return found


def _digest(files: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        code = _parsed(path, root).code
        digest.update(f"{path.relative_to(root).as_posix()}\0{code}\0".encode())
    return digest.hexdigest()[:16]


def _parsed(path: Path, root: Path) -> Parsed:
    """Raises SyntaxError for a file that is not valid Python, and KeyError if there is none."""
    found = parsed_modules(root)[path]
    if isinstance(found, SyntaxError):
        raise found
    return found


def _file(module: str, root: Path) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _local(path: Path, root: Path) -> list[Path]:
    """The files under `root` that the imports of `path` may refer to."""
    files = []
    for name in _parsed(path, root).imports:
        base = root.joinpath(*name.split("."))
        files += [base.with_suffix(".py"), base / "__init__.py"]
    return [file for file in files if file in parsed_modules(root)]
