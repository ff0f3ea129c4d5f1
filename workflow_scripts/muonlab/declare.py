"""Decorators that declare which functions make the outputs of the workflow.

The workflow finds every function with one of these decorators, calls it with what its parameters
name, and writes what it returns to a file. `plan.registry` reads the decorators from the source
text without importing the module, so that planning does not wait for torch or matplotlib. Every
argument of a decorator must therefore be a literal.

The parameters of the function name what it needs (`plan.needs` lists the names). A study has an
output if it has everything that the output needs; a parameter with the default None is optional.
Captions are templates for `str.format` (`plan.captions` lists the words that they may contain).

What lies in `report/across/` is made once for all studies of a configuration, in its own folder:
its parameters name what `plan.across` lists, and a table that it names comes as a dictionary of the
studies' tables.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

Function = TypeVar("Function", bound=Callable)
Mark = Callable[[Function], Function]


def figure(*, title: str, section: str, caption: str) -> Mark:
    """A function that returns a matplotlib figure: `figures/<function's name>.svg` and `.png`.

    `title` is its name in the report, `section` the part of the report where it is shown.
    """
    return _unchanged


def table(*, section: str, outputs: Mapping[str, tuple[str, str] | None]) -> Mark:
    """A function that returns tables: `tables/<output>.csv` for each name in `outputs`.

    `outputs` gives the title and caption of each table, or None for a table that the report does
    not show. The function returns a DataFrame or, if there are several outputs, a dictionary of
    DataFrames.
    """
    return _unchanged


def text(*, title: str, section: str, caption: str, suffix: str = "md") -> Mark:
    """A function that returns a text, by default Markdown: `<function's name>.<suffix>` in the
    study's folder."""
    return _unchanged


def folder() -> Mark:
    """A function that returns the files of a folder `<function's name>/`: texts, or paths of files
    that are copied, by their names in it."""
    return _unchanged


def measurement(*, memory_mb: int = 2000, split: str = "", of: str = "run") -> Mark:
    """A function that measures finished runs and returns the rows of a file
    `<function's name>/<arm>/seed-<n>.parquet`.

    `split` names the split of the data that it reads, "" for none. With `of="arm"` one job measures
    all runs of an arm; use it for measurements that take less time than starting a job. The
    module's COLUMNS give the names and types of the columns. The decorator stores `of` as an
    attribute of the function.
    """

    def mark(function: Function) -> Function:
        function.of = of  # type: ignore[attr-defined]
        return function

    return mark


def _unchanged(function: Function) -> Function:
    return function
