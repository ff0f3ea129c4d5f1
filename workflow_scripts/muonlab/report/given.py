"""Turns a job's param and input files into the arguments of the declared function that it calls.

The plan says which values and files belong to each parameter (`plan.needs`). They are read here:
records of runs as one table of all runs, JSON unchanged, tables of the study as they were written.
"""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from muonlab.report.layers import of_layers, thinned
from muonlab.report.records import read_arms, read_curves, read_parts

# Files inside a run's `records` folder. The workflow knows only the folder.
INSIDE = {
    "geometry_records": "geometry.parquet",
    "layer_geometry_records": "geometry.parquet",
    "layer_component_records": "components.parquet",
    "gradient_records": "gradients.parquet",
    "component_records": "components.parquet",
    "main_component_records": "components.parquet",
    "expert_records": "components.parquet",
}
# Which of a run's records are read, where there can be too many.
KEPT = {"geometry_records": thinned, "layer_geometry_records": of_layers}
SINGLE = ("selection", "profile", "data_facts")


def function_of(make: str) -> Callable:
    """The declared function behind `module:function`."""
    module, name = make.split(":")
    return getattr(importlib.import_module(module), name)


def arguments(job: Mapping[str, Any], inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The keyword arguments that the job's function is called with.

    `job` is the job's param as `plan.outputs.Outputs.job` makes it, `inputs` its files by name.
    """
    return {name: _argument(name, job, inputs) for name in job["needs"]}


def _argument(name: str, job: Mapping, inputs: Mapping[str, Sequence[str]]) -> Any:
    if name in job["values"]:
        return job["values"][name]
    if name in job.get("by_study", ()):
        return _by_study(job["by_study"][name], _listed(inputs.get(name, ())))
    files = _listed(inputs[name])
    if name in SINGLE:
        return json.loads(Path(files[0]).read_text())
    if name.endswith("summaries"):
        return read_parts(files, "summary")
    if name.endswith("provenances"):
        return read_parts(files, "provenance")
    if name in job["of"]:
        return _records(name, job, files)
    return pd.read_csv(files[0])


def _by_study(asked: Mapping, files: Sequence[str]) -> Any:
    """What a function of all studies gets (`plan.across`): a table of its own, or paths by suffix;
    one table by study; or paths by study and name."""
    places = asked["places"]
    if asked["read"] == "own":
        if files[0].endswith(".csv"):
            return pd.read_csv(files[0])
        return {Path(file).suffix.removeprefix("."): Path(file) for file in files}
    if asked["read"] == "tables":
        return {study: pd.read_csv(file) for (study, _), file in zip(places, files, strict=True)}
    found: dict[str, dict[str, Path]] = {}
    for (study, name), file in zip(places, files, strict=True):
        found.setdefault(study, {})[name] = Path(file)
    return found


def _records(name: str, job: Mapping, files: Sequence[str]) -> pd.DataFrame:
    """Long-form records of all runs, with the columns arm and seed first."""
    if job["of"][name] == "arms":
        arms = dict.fromkeys(run["arm"] for run in job["values"]["runs"])
        return read_arms(list(arms), files)
    if name in INSIDE:
        files = [Path(folder) / INSIDE[name] for folder in files]
    return read_curves(job["values"][job["of"][name]], files, KEPT.get(name))


def _listed(files: str | Sequence[str]) -> Sequence[str]:
    return [files] if isinstance(files, str) else list(files)
