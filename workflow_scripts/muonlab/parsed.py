"""What digests need to know about each module: a digest of its code, and what it imports.

Both are read off the syntax tree. Parsing the whole package takes half a second, and every start of
the workflow needs it, so the workflow has the findings kept in a file (`keep_in`). A finding is
used only for a file of the very same content, read by the very same version of this module and of
Python, so it cannot be out of date. Without the file, everything is parsed.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from muonlab.io.atomic import write_text

PACKAGE = "muonlab"
_kept: Path | None = None


class Parsed(NamedTuple):
    """A module: digests of its bytes and of its code, and the names of this package that it
    imports, at the top or anywhere else.

    The digest of its code covers the syntax tree without docstrings, so that comments, docstrings
    and formatting do not change it.
    """

    content: str
    code: str
    imports: tuple[str, ...]


def keep_in(file: Path | None) -> None:
    """Names the file in which findings are kept for later processes; None keeps them nowhere."""
    global _kept
    _kept = file


@cache
def parsed_modules(root: Path) -> dict[Path, Parsed | SyntaxError]:
    """All modules of the package in the folder `root`, and the scripts beside it, by their paths.

    A file that is not valid Python has its SyntaxError in place of its findings.
    """
    before = _read(_kept) if _kept else {}
    found: dict[Path, Parsed | SyntaxError] = {}
    for path in [*root.glob("*.py"), *(root / PACKAGE).rglob("*.py")]:
        text = path.read_bytes()
        last = before.get(path.relative_to(root).as_posix())
        same = last is not None and last.content == _sha256(text)
        found[path] = last if same else parse(text, path)
    now = {
        path.relative_to(root).as_posix(): module
        for path, module in found.items()
        if isinstance(module, Parsed)
    }
    if _kept and now != before:
        _write(_kept, now)
    return found


def _reader() -> str:
    """What a finding depends on besides the content of its file: this module, and Python."""
    return _sha256(Path(__file__).read_bytes() + sys.version.encode())


def _read(kept: Path) -> dict[str, Parsed]:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["reader"] != _reader():
            return {}
        modules = found["modules"].items()
        return {path: Parsed(c, code, tuple(imports)) for path, (c, code, imports) in modules}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there is no such file, or it is not one of ours


def _write(kept: Path, modules: dict[str, Parsed]) -> None:
    # The folder may not be ours to write to. Parsing again then only costs time.
    with suppress(OSError):
        write_text(kept, json.dumps({"reader": _reader(), "modules": modules}))


def parse(text: bytes, path: Path) -> Parsed | SyntaxError:
    """The findings of one file with this content."""
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as mistake:
        return mistake
    imports = _imported(tree)
    code = ast.dump(_without_docstrings(tree))
    return Parsed(_sha256(text), _sha256(code.encode()), imports)


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _imported(tree: ast.Module) -> tuple[str, ...]:
    names = []
    for node in _statements(tree.body):
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
