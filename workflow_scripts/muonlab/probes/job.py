"""A declared measurement as a job: opens finished runs, measures them, writes the rows."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from muonlab.io.columns import write_records
from muonlab.probes.finished import FinishedRun
from muonlab.training.build import load_splits


def measure(job: dict, runs: Sequence[Path], data: Path, device: str, target: Path) -> None:
    """Measures the finished runs in the folders `runs` and writes the rows to `target`.

    `make` of `job` names the function ("muonlab.probes.curvature:curvature"). It gets those of the
    following that are among its parameters: `run`, `places` (the start, the end, and at most the
    job's number `along` of snapshots between), `split` (the part of the data with the job's name
    for it), `settings` and `device`. If the job measures an arm, each row starts with the run's
    seed, from `seeds`.
    """
    module, _, name = job["make"].partition(":")
    found = import_module(module)
    make, columns = getattr(found, name), found.COLUMNS
    opened = (FinishedRun(run, data) for run in runs)
    if make.of == "arm":
        columns = {"seed": int} | columns
        rows = _with_seeds(make, job, opened, data, device)
    else:
        (run,) = opened
        rows = make(**arguments(make, job, run, data, device))
    write_records(target, rows, columns)


def arguments(
    make: Callable, job: dict, run: FinishedRun, data: Path, device: str
) -> dict[str, Any]:
    """The arguments of `make`, by its parameters' names."""
    known: dict[str, Callable[[], Any]] = {
        "run": lambda: run,
        "places": lambda: run.places(job["along"]),
        "split": lambda: load_part(job["split"], run, data, device),
        "settings": lambda: job["settings"],
        "device": lambda: device,
    }
    return {name: known[name]() for name in signature(make).parameters}


def load_part(name: str, run: FinishedRun, data: Path, device: str) -> Any:
    """A part of the data as the run read it. The test split is loaded under the name `report`, so
    that it is separate from training whatever windows the run trained with."""
    shown = "report" if name == "test" else name
    return load_splits({shown: [name]}, run.config, data, run.facts, device)[shown]


def _with_seeds(make, job: dict, runs, data: Path, device: str) -> Iterator[dict]:
    for seed, run in zip(job["seeds"], runs, strict=True):
        for row in make(**arguments(make, job, run, data, device)):
            yield {"seed": seed} | row
