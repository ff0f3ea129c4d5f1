"""Digests of the code that a job runs: its script and every module of ours that it imports.

Snakemake does not see edits in imported modules, so each rule carries such a digest among its
params. It is taken over the syntax tree without docstrings: comments, docstrings, formatting and
time stamps change nothing, code does.

Training has two. What moves the weights and decides the numbers is reached from the training loop:
an edit of it trains anew. What watches a run while it trains is the rest of the training job's
code: its digest is written down beside the records, and an edit of it trains nothing anew.
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
STARTING = "muonlab/jobs/warm.py"  # how a job starts changes nothing of what it makes
NONE: frozenset[str] = frozenset()


@cache
def code_digest(
    *entries: str,
    alternatives: frozenset[str] = NONE,
    chosen: frozenset[str] = NONE,
    root: Path = SCRIPTS,
) -> str:
    """Hex digest of the files `entries`, by their paths from `root`, and of all that they import.

    `alternatives` are modules of which a job uses only `chosen`, and what those import. A job may
    also import them by name alone, as a run its optimizer.
    """
    unused = {_file(name, root) for name in alternatives - chosen} | {root / STARTING}
    for name in chosen:
        unused -= closure([_file(name, root)], root)
    return _digest(closure([root / entry for entry in entries], root, frozenset(unused)), root)


def training_digest(
    chosen: frozenset[str], alternatives: frozenset[str], root: Path = SCRIPTS
) -> str:
    """The digest of what moves a run's weights: of the `alternatives` (optimizers, models, kinds of
    data) just what the run has `chosen` counts, even where it is imported by its name alone."""
    own = [f"{name.replace('.', '/')}.py" for name in sorted(chosen)]
    return code_digest(TRAINING_LOOP, *own, alternatives=alternatives, chosen=chosen, root=root)


@cache
def observer_digest(root: Path = SCRIPTS) -> str:
    """The digest of the training job's code that moves no weights: observers, checkpoints, the
    files that a run leaves."""
    return _digest(observing(root), root)


def observing(root: Path = SCRIPTS) -> set[Path]:
    """The modules of the training job that the training loop does not reach."""
    return closure([root / TRAINING_JOB], root) - closure([root / TRAINING_LOOP], root)


def closure(
    entries: Iterable[Path], root: Path, without: frozenset[Path] = frozenset()
) -> set[Path]:
    """`entries` and the modules under `root` that they import, directly or not, past none of
    `without`."""
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
    """Files under `root` that the imports of `path` can mean."""
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
    text = ast.dump(_WithoutDocstrings().visit(_tree(path)))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _imported(path: Path) -> tuple[str, ...]:
    """The names in our package that the module imports, at its top or anywhere else."""
    names = []
    for node in _statements(_tree(path).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name` may mean a module or something in one: try both.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(sorted({name for name in names if name.split(".")[0] == PACKAGE}))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of `body` and those inside them; their expressions, which are most of a tree,
    are not looked at."""
    for statement in body:
        yield statement
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, part, ()))
        for inner in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _statements(inner.body)


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes strings that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node
