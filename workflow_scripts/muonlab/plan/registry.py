"""The registry of everything that the workflow can make.

It collects the decorators from `muonlab.declare` in FOLDERS, so a new figure, table, text or
measurement needs only one new file in one of these folders. The decorators are read from the source
text: importing the modules would import torch, pandas and matplotlib, and every start of the
workflow and every cluster job would have to wait for that.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from muonlab.io.errors import UserError

LIBRARY = Path(__file__).resolve().parents[1]
FOLDERS = ("report/figures", "report/tables", "report/texts", "probes")
ACROSS = ("report/across",)  # what is made once for all studies
KINDS = ("figure", "table", "text", "measurement", "folder")


@dataclass(frozen=True)
class Output:
    """A table, figure or text as the report shows it. Without a title it is left out."""

    name: str
    title: str | None
    caption: str | None


@dataclass(frozen=True)
class Declaration:
    """One declared function: what it makes, and what it needs, named by its parameters."""

    kind: str
    name: str
    module: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    section: str
    outputs: tuple[Output, ...]
    memory_mb: int = 2000
    split: str = ""
    of: str = "run"
    suffix: str = "md"

    @property
    def file(self) -> Path:
        """The module's file, from which the digest of its code is computed."""
        return LIBRARY.parent.joinpath(*self.module.split(".")).with_suffix(".py")

    @property
    def function(self) -> str:
        """`module:function`, as the adapters import it."""
        return f"{self.module}:{self.name}"


@dataclass(frozen=True)
class Registry:
    """All declarations, by the kind of output that they make and by name."""

    figures: dict[str, Declaration]
    tables: dict[str, Declaration]
    texts: dict[str, Declaration]
    measurements: dict[str, Declaration]
    folders: dict[str, Declaration]

    def table_of(self, output: str) -> Declaration | None:
        """The declaration that makes the table `output`."""
        return self._tables_by_output().get(output)

    @cache  # noqa: B019 (there is one registry for each process)
    def _tables_by_output(self) -> dict[str, Declaration]:
        return {output.name: made for made in self.tables.values() for output in made.outputs}

    def __hash__(self) -> int:
        return id(self)


@cache
def read_registry(library: Path = LIBRARY, folders: tuple[str, ...] = FOLDERS) -> Registry:
    """The declarations in `folders` under `library`, in the order of their files and lines.

    Raises UserError if an argument of a declaration is not a literal, or if two declarations would
    make the same file.
    """
    found: dict[str, dict[str, Declaration]] = {kind: {} for kind in KINDS}
    tables: dict[str, str] = {}
    for folder in folders:
        for path in sorted((library / folder).glob("*.py")):
            for made in declarations(path, library):
                if made.name in found[made.kind]:
                    raise UserError(f"{path.name}: there are two {made.kind}s named {made.name}")
                found[made.kind][made.name] = made
                for output in made.outputs if made.kind == "table" else ():
                    if output.name in tables:
                        raise UserError(f"{path.name}: there are two tables named {output.name}")
                    tables[output.name] = made.name
    return Registry(*(found[kind] for kind in KINDS))


def declarations(path: Path, library: Path = LIBRARY) -> list[Declaration]:
    """The declarations in one module."""
    module = ".".join(path.relative_to(library.parent).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    found = []
    for node in tree.body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            kind = _kind(mark)
            if kind:
                found.append(_declaration(kind, node, _literals(mark, path), module))
    return found


def _kind(mark: ast.expr) -> str | None:
    named = isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name)
    return mark.func.id if named and mark.func.id in KINDS else None


def _literals(mark: ast.Call, path: Path) -> dict:
    try:
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
    except ValueError as failure:
        raise UserError(
            f"{path.name}, line {mark.lineno}: the arguments of a declaration must be literals, "
            "because it is read without importing the module"
        ) from failure


def _declaration(kind: str, node: ast.FunctionDef, given: dict, module: str) -> Declaration:
    parameters = [argument.arg for argument in node.args.args]
    first_optional = len(parameters) - len(node.args.defaults)
    if kind == "table":
        shown = given["outputs"].items()
        outputs = tuple(Output(name, *(told or (None, None))) for name, told in shown)
    elif kind in ("measurement", "folder"):
        outputs = ()
    else:
        outputs = (Output(node.name, given["title"], given["caption"]),)
    return Declaration(
        kind=kind,
        name=node.name,
        module=module,
        needs=tuple(parameters[:first_optional]),
        optional=tuple(parameters[first_optional:]),
        section=given.get("section", ""),
        outputs=outputs,
        **{
            field: given[field]
            for field in ("memory_mb", "split", "of", "suffix")
            if field in given
        },
    )
