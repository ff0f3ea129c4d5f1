"""Declarations of what the workflow makes, each beside the function that makes it.

A function marked here is an entry of the workflow: the generic rules find it, give it what its
parameters name, and write down what it returns. `plan.registry` reads the declarations from the
source text, without importing the module, since a plan must not wait for torch or matplotlib.
Therefore every argument of a decorator is a literal.

The parameters of the function are what it needs (`plan.needs` lists the names). A study has an
output where it has everything that the output needs; a parameter whose default is None is optional.
Captions are templates for `str.format` (`plan.captions` lists the words).
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)
Mark = Callable[[Function], Function]


def figure(*, title: str, section: str, caption: str) -> Mark:
    """A function that returns a matplotlib figure: `figures/<function's name>.svg` and `.png`.

    `title` and `section` are its name and its place in the report.
    """
    return _unchanged


def table(*, section: str, outputs: Mapping[str, tuple[str, str] | None]) -> Mark:
    """A function that returns tables: `tables/<output>.csv` for each name in `outputs`.

    `outputs` gives each table's title and caption, or None for a table that is not for the report.
    The function returns a DataFrame, or, where there are several outputs, a dictionary of them.
    """
    return _unchanged


def text(*, title: str, section: str, caption: str) -> Mark:
    """A function that returns Markdown: `<function's name>.md` in the study's folder."""
    return _unchanged


def measurement(*, memory_mb: int = 2000, split: str = "", of: str = "run") -> Mark:
    """A function that measures finished runs: rows of `<function's name>/<arm>/seed-<n>.parquet`.

    `split` names the part of the data that it reads, "" for none. With `of="arm"` one job measures
    all runs of an arm, for measurements that take less time than the start of a job. The module's
    COLUMNS give the names and types of the columns. The function's attribute `of` says what one job
    measures.
    """

    def mark(function: Function) -> Function:
        function.of = of  # type: ignore[attr-defined]
        return function

    return mark


def _unchanged(function: Function) -> Function:
    return function
