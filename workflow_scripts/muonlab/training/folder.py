"""A finished run's folder.

metrics.parquet   step, split, metric, value
records/          of reporting runs: what their observers recorded
run.json          {summary, config, routing (which tensor is trained by which optimizer),
                  provenance}, written last: where it exists, the run is complete
"""

import json
import os
import platform
import resource
import shutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from muonlab.hooks import Observer
from muonlab.io.atomic import replacing, write_json
from muonlab.optim.routing import as_records
from muonlab.training.loop import Trainer
from muonlab.training.metrics import COLUMNS

PACKAGES = ("torch", "numpy", "safetensors", "pyarrow", "scikit-learn")


def publish(trainer: Trainer, observers: Iterable[Observer], folder: Path, facts: dict) -> None:
    """Writes the files of the finished run; `facts` go into its provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder / "metrics.parquet", trainer.metrics.rows)
    if trainer.config["phase"] == "reporting":
        write_observed(folder / "records", observers)
    record = {
        "summary": trainer.summary(),
        "config": trainer.config,
        "routing": as_records(trainer.routes),
        "provenance": facts | provenance_of(trainer),
    }
    write_json(folder / "run.json", record)


def is_finished(folder: Path, mark: str) -> bool:
    """Whether `folder` holds the finished run with this stamp."""
    try:
        record = json.loads((folder / "run.json").read_text())
        parts = ["metrics.parquet"] + ["records"] * (record["config"]["phase"] == "reporting")
        whole = all((folder / part).exists() for part in parts)
        return whole and record["provenance"]["stamp"] == mark
    except (OSError, ValueError, KeyError):
        return False


def remove_leftovers(folder: Path) -> None:
    """Removes files that an attempt was writing when it was killed."""
    for path in folder.glob(".*.tmp*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_metrics(path: Path, rows: list[tuple[int, str, str, float]]) -> None:
    """The rows as parquet, the same bytes for the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = (pa.int64(), pa.string(), pa.string(), pa.float64())
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [pa.array(c, type=t) for c, t in zip(columns, types, strict=True)]
    with replacing(path) as temporary:
        pq.write_table(pa.table(arrays, names=list(COLUMNS)), temporary)


def write_observed(target: Path, observers: Iterable[Observer]) -> None:
    """Writes the observers' records to `target`, either all of them or none."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for observer in observers:
        observer.write(temporary)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)


def provenance_of(trainer: Trainer) -> dict:
    """The machine and software of the run, and its time and memory, over all attempts."""
    clock = trainer.clock.read()
    epochs = max(trainer.step, 1) / trainer.update.per_epoch
    step_seconds, step_cpu_seconds = trainer.clock.step_seconds()
    cuda = trainer.device == "cuda"
    tokens = trainer.update.tokens(trainer.step)
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "device_type": trainer.device,
        "packages": _versions(),
        "python": platform.python_version(),
        "seconds": clock["total"],
        "seconds_in_updates": clock["updates"],
        "seconds_in_watching": clock["watching"],
        # On a GPU the optimizers' kernels still run after their calls return.
        "seconds_in_optimizer": None if cuda else clock["optimizer"],
        "step_seconds": step_seconds,
        "step_cpu_seconds": step_cpu_seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / clock["updates"] if clock["updates"] else None,
        "seconds_per_epoch": clock["updates"] / epochs,
        "cpu_seconds_per_epoch": clock["updates_cpu"] / epochs,
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if cuda else None,
    }


@cache
def _versions() -> dict[str, str]:
    """The versions of PACKAGES, whose files take some time to find and to read."""
    return {name: version(name) for name in PACKAGES}
