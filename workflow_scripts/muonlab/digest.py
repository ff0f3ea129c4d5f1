"""A digest of the code that a job runs: its script and every module of ours that it imports.

Snakemake does not see edits in imported modules, so each rule carries this digest among its
params. It is taken over the syntax tree without docstrings: comments, docstrings, formatting and
time stamps change nothing, code does.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "muonlab"
ROOT = Path(__file__).resolve().parents[1]  # the folder of the adapters


@cache
def code_digest(
    entries: tuple[Path, ...],
    alternatives: frozenset[str] = frozenset(),
    chosen: frozenset[str] = frozenset(),
    without: tuple[Path, ...] = (),
) -> str:
    """Hex digest of the modules `entries` and their import closure, but for that of `without`.

    `alternatives` are modules of which a job uses only `chosen`, and what those import: a registry
    imports all optimizers, and a run trains with one of them.
    """
    unused = {_file(name, ROOT) for name in alternatives - chosen}
    for name in chosen:
        unused -= _closure(_file(name, ROOT))
    found = frozenset().union(*(closure(e.resolve(), ROOT, frozenset(unused)) for e in entries))
    for entry in without:
        found -= _closure(entry.resolve())
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{_tree(path)[0]}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _closure(path: Path) -> frozenset[Path]:
    return frozenset(closure(path, ROOT))


def closure(script: Path, root: Path, without: frozenset[Path] = frozenset()) -> set[Path]:
    """`script` and the modules under `root` that it imports, directly or not, past none of
    `without`."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        path = waiting.pop()
        if path not in found and path not in without:
            found.add(path)
            waiting.extend(_local(path, root))
    return found


def _file(module: str, root: Path) -> Path:
    return root.joinpath(*module.split(".")).with_suffix(".py")


def _local(path: Path, root: Path) -> list[Path]:
    """Files under `root` that the imports of `path` can mean."""
    files = []
    for name in _tree(path)[1]:
        base = root.joinpath(*name.split("."))
        files += [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
    return files


@cache
def _tree(path: Path) -> tuple[str, tuple[str, ...]]:
    """A digest of the module's syntax tree without docstrings, and the names that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name` may mean a module or something in one: try both.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = tuple(sorted({n for n in names if n.split(".")[0] == PACKAGE}))
    text = ast.dump(_WithoutDocstrings().visit(tree))
    return hashlib.sha256(text.encode()).hexdigest(), ours


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes strings that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node
