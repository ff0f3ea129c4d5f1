"""Digests of the code that a job runs: its script and every module of this package that it imports.

Snakemake does not notice edits in imported modules, so each rule has such a digest among its
params. It is computed from the syntax tree without docstrings: editing comments, docstrings or
formatting does not change it, editing code does.

A training job has two digests. One covers the code that determines the weights and the metrics,
which is everything that the training loop imports; editing it retrains the runs. The other covers
the rest of the job's code, which only observes and saves the run. That digest is stored with the
records, and editing this code retrains nothing.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "muonlab"
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
        digest.update(f"{path.relative_to(root).as_posix()}\0{_code(path)}\0".encode())
    return digest.hexdigest()[:16]


def _file(module: str, root: Path) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


def _local(path: Path, root: Path) -> list[Path]:
    """The files under `root` that the imports of `path` may refer to."""
    files = []
    for name in _imported(path):
        base = root.joinpath(*name.split("."))
        files += [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
    return files


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _code(path: Path) -> str:
    """A digest of the module's syntax tree without docstrings."""
    text = ast.dump(_without_docstrings(_tree(path)))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """The names of this package that the module imports, at the top or anywhere else."""
    names = []
    for node in _statements(_tree(path).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name` may import a module or something in a module: list both.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(sorted({name for name in names if name.split(".")[0] == PACKAGE}))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of `body` and the statements nested in them.

    Expressions, which make up most of a syntax tree, are skipped.
    """
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, part, ()))
        for inner in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _statements(inner.body)


def _without_docstrings(node: ast.AST) -> ast.AST:
    """Removes strings that are statements: docstrings of modules, classes, functions and fields.

    Only statements are looked at, since an expression cannot hold one.
    """
    for part in ("body", "orelse", "finalbody"):
        statements = getattr(node, part, None)
        if isinstance(statements, list):
            kept = [statement for statement in statements if not _is_text(statement)]
            setattr(node, part, [_without_docstrings(statement) for statement in kept])
    for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        _without_docstrings(inner)
    return node


def _is_text(statement: ast.stmt) -> bool:
    alone = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return alone and isinstance(statement.value.value, str)
