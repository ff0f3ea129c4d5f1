"""How long jobs of this machine took, read from finished runs and from Snakemake's own records."""

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from muonlab.plan.flops import evaluated_examples, flops_per_example, flops_per_update
from muonlab.plan.optimizers import DECLARED

SHAPING = ("batch_size", "accumulation", "precision", "mask_documents", "compile", "frozen")
# Settings of an optimizer that decide what a step costs; others are numbers in the same products.
OPTIMIZER_SHAPING = ("name", "components", "ns_steps", "orthogonalize", "update_spectrum", "split")


class Finished(NamedTuple):
    """A finished run's cost: seconds of an update, seconds of all else (evaluating, recording,
    loading), operations of an update and of all evaluations."""

    update_seconds: float
    other_seconds: float
    update_flops: int
    evaluation_flops: int
    device: str


class Times:
    """Measured seconds. `runs` are finished runs by the shape of their steps, `rules` the seconds
    of each rule's jobs, `outside` the seconds of a training job that its run does not count."""

    def __init__(
        self,
        runs: Mapping[str, list[Finished]],
        rules: Mapping[str, list[float]],
        outside: Iterable[float],
    ):
        self.runs, self.rules = runs, rules
        self.outside = list(outside)

    def rule(self, name: str) -> float | None:
        """The median seconds of a rule's jobs; None if none was recorded."""
        return median(self.rules[name]) if self.rules.get(name) else None

    def kind(self, prefix: str) -> float | None:
        """The median seconds of the jobs of all rules whose names start so."""
        found = [s for name, own in self.rules.items() if name.startswith(prefix) for s in own]
        return median(found) if found else None

    def alike(self, config: Mapping[str, Any], device: str) -> list[Finished]:
        """The finished runs whose steps have the shape of this run's steps."""
        return [run for run in self.runs.get(shape_of(config), []) if run.device == device]

    def rate(self, update_flops: int, device: str) -> float | None:
        """Operations per second of the finished runs whose updates are nearest in size to
        `update_flops`; None without any. Small models run far below the rate of large ones, so a
        rate more than a factor of eight away in size is not taken."""
        found = [run for own in self.runs.values() for run in own if run.device == device]
        near = [run for run in found if 1 / 8 <= run.update_flops / max(update_flops, 1) <= 8]
        if not near:
            return None
        nearest = min(near, key=lambda run: abs(run.update_flops - update_flops)).update_flops
        rates = [
            run.update_flops / run.update_seconds for run in near if run.update_flops == nearest
        ]
        return median(rates)


def shape_of(config: Mapping[str, Any]) -> str:
    """A key that runs share whose updates do the same work."""
    optimizer = {field: config["optimizer"].get(field) for field in OPTIMIZER_SHAPING}
    training = {field: config["training"].get(field) for field in SHAPING}
    return json.dumps([config["model"], config["data"], optimizer, training], sort_keys=True)


def read_times(results: Path, metadata: Path, facts: Mapping[str, Mapping]) -> Times:
    """The times in `results` (every configuration's runs) and in Snakemake's folder `metadata`.

    `facts` are the digests of the data sets by name. Files that cannot be read are passed over: an
    estimate must not fail because of a run that was cut short.
    """
    runs: dict[str, list[Finished]] = defaultdict(list)
    seconds: dict[str, float] = {}
    for file in results.glob("*/runs/*/*/run.json"):
        record = _json(file)
        found = _finished(record, facts) if record else None
        if found:
            runs[shape_of(record["config"])].append(found)
            seconds[file.as_posix()] = record["provenance"]["seconds"]
    rules, outside = defaultdict(list), []
    for file in metadata.glob("**/*") if metadata.is_dir() else ():
        told = _json(file) if file.is_file() else None
        taken = _duration(told)
        if taken is None:
            continue
        made = _decoded(file.relative_to(metadata))
        if told["rule"].startswith("train_"):
            if made in seconds:
                outside.append(max(0.0, taken - seconds[made]))
        else:
            rules[told["rule"]].append(taken)
    return Times(runs, rules, outside)


def _finished(record: Mapping[str, Any], facts: Mapping[str, Mapping]) -> Finished | None:
    try:
        config, told = record["config"], record["provenance"]
        own, updates = facts[config["data"]], max(record["summary"]["steps"], 1)
        if config["optimizer"]["name"] not in DECLARED:
            return None
        return Finished(
            told["seconds_in_updates"] / updates,
            told["seconds"] - told["seconds_in_updates"],
            flops_per_update(config, own),
            evaluated_examples(config, own) * flops_per_example(config, own) // 3,
            told["device_type"],
        )
    except (KeyError, TypeError):  # a record of another version
        return None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def _duration(told: Any) -> float | None:
    """The seconds of a job, from Snakemake's record of one of its outputs."""
    if not isinstance(told, dict) or not told.get("rule"):
        return None
    start, end = told.get("starttime"), told.get("endtime")
    return end - start if start and end and end >= start else None


def _decoded(file: Path) -> str:
    """The output that a file of Snakemake's metadata is about; long names are spread over folders
    whose names start with @."""
    text = "".join(part.removeprefix("@") for part in file.parts)
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
