"""An optimizer's settings, stated once: in the body of its class.

A module of this room is an optimizer that a config can name, by the module's name, where a class
of that name, with capitals as one likes, is marked `@optimizer`. Its settings are its attributes
with a type of `fields`, a default and a sentence below, beside those of its bases; what has the
type Final is fixed. `declarations` reads them off the source, so that the plan needs no torch.
"""

import ast
import inspect
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from muonlab.optim import fields

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
HERE = Path(__file__).parent


class Declaration(NamedTuple):
    """An optimizer's class by name, the sentence about it, whether it is for matrices alone, and
    the type, default and sentence of each setting."""

    name: str
    sentence: str
    for_matrices: bool
    settings: dict[str, tuple[Any, Any, str]]


def optimizer(cls: type) -> type:
    """Marks an optimizer's class, which gets `settings`: the type and default of each.

    They are no attributes any more: a parameter group can have another value than the default.
    """
    cls.settings = dict(getattr(cls, "settings", {}))
    for name, kind in inspect.get_annotations(cls).items():
        cls.settings[name] = kind, vars(cls)[name]
        delattr(cls, name)
    # What help() shows in place of **settings.
    given = list(inspect.signature(cls.__init__).parameters.values())[1:-1]
    free = {n: default for n, (kind, default) in cls.settings.items() if kind is not Final}
    named = [inspect.Parameter(n, KEYWORD_ONLY, default=d) for n, d in free.items()]
    cls.__signature__ = inspect.Signature(given + named)
    return cls


def complete(cls: type, given: dict) -> dict:
    """The settings that are given and the optimizer's defaults; TypeError for an unknown one."""
    for name in given:
        if cls.settings.get(name, [Final])[0] is Final:
            raise TypeError(f"{cls.__name__} has no argument {name}")
    return {name: given.get(name, default) for name, (_, default) in cls.settings.items()}


@cache
def declarations() -> dict[str, Declaration]:
    """All optimizers by the names that a config has for them."""
    found = {path.stem: _read(path) for path in sorted(HERE.glob("*.py"))}
    return {name: declaration for name, declaration in found.items() if declaration}


def _read(path: Path) -> Declaration | None:
    """What the module declares, its bases' settings included."""
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and "optimizer" in map(ast.unparse, node.decorator_list):
            names = [ast.unparse(base) for base in node.bases]
            bases = list(filter(None, [_read(HERE / f"{name.lower()}.py") for name in names]))
            settings = {n: s for base in bases for n, s in base.settings.items()} | _settings(node)
            return Declaration(
                name=node.name,
                sentence=ast.get_docstring(tree).split("\n\n")[0].replace("\n", " "),
                for_matrices="MatrixOptimizer" in names or any(b.for_matrices for b in bases),
                settings={n: setting for n, setting in settings.items() if setting[0] is not Final},
            )
    return None


def _settings(node: ast.ClassDef) -> dict[str, tuple[Any, Any, str]]:
    """The attributes with a type in a class's body; TypeError where one is not complete."""
    found = {}
    for line, below in zip(node.body, [*node.body[1:], node], strict=True):
        if isinstance(line, ast.AnnAssign):
            name = line.target.id
            try:
                kind = eval(ast.unparse(line.annotation), {"Final": Final, **vars(fields)})
                sentence = "" if kind is Final else inspect.cleandoc(below.value.value)
                found[name] = kind, ast.literal_eval(line.value), sentence
            except (NameError, AttributeError, ValueError) as failure:
                raise TypeError(
                    f"{node.name}.{name}: a setting needs a type made of muonlab.optim.fields, a "
                    f"literal as its default and a sentence below ({failure})"
                ) from failure
    return found
