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


@cache
def code_digest(
    script: Path,
    alternatives: frozenset[str] = frozenset(),
    chosen: frozenset[str] = frozenset(),
) -> str:
    """Hex digest of `script` and its import closure inside the package beside it.

    `alternatives` are modules of which a job uses only `chosen`, and what those import. A job may
    also import them by name alone, as a run its optimizer.
    """
    root = script.resolve().parent
    unused = {_file(name, root) for name in alternatives - chosen}
    for name in chosen:
        unused -= closure(_file(name, root), root)
    files = closure(script.resolve(), root, frozenset(unused))
    for name in chosen:
        files |= closure(_file(name, root), root)
    digest = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{_tree(path)[0]}\0".encode())
    return digest.hexdigest()[:16]


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
    """The module's syntax tree as text, without docstrings, and the names that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name` may mean a module or something in one: try both.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = tuple(sorted({n for n in names if n.split(".")[0] == PACKAGE}))
    return ast.dump(_WithoutDocstrings().visit(tree)), ours


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes strings that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node
