"""The source text of the running Python's standard library, or the docstrings in it."""

import ast
import hashlib
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from muonlab.data.documents import Mended
from muonlab.data.sections import Place, Text

# Folders to leave out: tests, other packages, files that depend on the build of this machine, and
# pydoc_data, which holds the language reference as one long text.
NOT_LIBRARY = re.compile(
    r"tests?|idle_test|.*-packages|__pycache__|config-.*|lib-dynload|pydoc_data"
)
MACHINE_MADE = re.compile(r"_sysconfigdata.*|sitecustomize|usercustomize")


class StandardLibrary(Text):
    """The source text of Python's standard library, without tests. It needs no network."""

    source: Literal["stdlib"]
    max_bytes: int | None = Field(default=None, ge=10_000)
    """Largest number of bytes to read; null reads everything."""
    part: Literal["source", "docstrings"] = "source"
    """What a document is: a whole file, or the docstrings of a file, which are English prose about
    code and another distribution of text."""

    def read(self, place: Place, mended: Mended) -> tuple[dict, Iterator[str]]:
        described = {"name": "stdlib", "python": platform.python_version()}
        if self.part != "source":
            described["part"] = self.part
        return described, stdlib_documents(self.max_bytes, mended, self.part)


def stdlib_documents(max_bytes: int | None, mended: Mended, part: str = "source") -> Iterator[str]:
    """The .py files of the running Python's standard library, without tests; each is a document,
    or its docstrings are. Files without docstrings are left out of the latter.

    They are sorted by the SHA-256 of their path in the library, so the order is the same on every
    machine, and the first part of it is a mixture. Reading stops before the document that would
    exceed `max_bytes` in total.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    read = 0
    for path in sorted(_library_files(root), key=_path_digest):
        raw = (root / path).read_bytes()
        if part == "docstrings":
            raw = docstrings(raw).encode()
            if not raw:
                continue
        read += len(raw)
        if max_bytes is not None and read > max_bytes:
            return
        yield mended.decode(raw)


def docstrings(source: bytes) -> str:
    """The docstrings of a Python file in the order of their lines, with an empty line between;
    empty for a file that has none or is no valid Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    nodes.sort(key=lambda node: getattr(node, "lineno", 0))
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def _library_files(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not NOT_LIBRARY.fullmatch(name)]
        for path in map(Path, files):
            if path.suffix == ".py" and not MACHINE_MADE.fullmatch(path.stem):
                yield Path(folder, path).relative_to(root)


def _path_digest(path: Path) -> bytes:
    return hashlib.sha256(path.as_posix().encode()).digest()
