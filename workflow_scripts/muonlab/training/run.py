"""A run as a job: lock, resume, train, and put the finished files in place, all or none."""

import json
import platform
import resource
import signal
from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TextIO

import torch

from muonlab.io.atomic import replacing, write_json
from muonlab.io.errors import UserError
from muonlab.io.locks import exclusive
from muonlab.observers.components import write_components
from muonlab.observers.events import (
    EventLog,
    component_scalars,
    metric_scalars,
    require_packages,
    write_events,
)
from muonlab.observers.geometry import write_geometry
from muonlab.optim.routing import as_records
from muonlab.training.build import build_splits
from muonlab.training.checkpoint import Workspace, save_weights, stamp
from muonlab.training.loop import Interrupted, Trainer
from muonlab.training.record import summarise

PACKAGES = ("torch", "numpy", "safetensors", "pyarrow", "scikit-learn")
SIGTERM_EXIT = 128 + signal.SIGTERM


def train_run(
    config: dict,
    code: str,
    data: Path,
    folder: Path,
    device: str = "cpu",
    threads: int = 1,
    checkpoint_seconds: float = 30.0,
    log_to: Sequence[str] = (),
    progress: TextIO | None = None,
) -> None:
    """Trains the run `config` on the prepared data set in `data` and fills `folder`.

    `code` is the digest of the training code. The unfinished run lives in `folder`.partial, from
    which a later call goes on; `folder`.lock keeps a second process from training the same run,
    which waits and leaves with the first one's results. `log_to` names logs for watching
    (tensorboard, wandb): in `folder`.partial/events while the run goes, in `folder`/events when it
    is done; they are no part of its results. On SIGTERM the state is saved and the
    process exits with 143. Raises UserError where the device is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("train: a GPU was asked for (resource gpu), and torch sees none")
    if config["training"]["compile"] and device != "cuda":
        raise UserError("training.compile: is for GPUs, and the run is on a CPU; set it to false")
    require_packages(log_to)
    torch.set_num_threads(threads)
    facts = json.loads((data / "digest.json").read_text())
    workspace_folder = folder.with_name(folder.name + ".partial")
    mark = stamp(config, code, facts, device)
    with exclusive(folder.with_name(folder.name + ".lock")) as waited:
        if waited and _finished(folder, mark):
            print("another process has finished this run meanwhile")
            return
        workspace = Workspace(workspace_folder, mark)
        splits = build_splits(config, data, facts, device)
        trainer = Trainer(config, facts, splits, workspace, device)
        resumed = trainer.resume()
        print(f"{'resumes at' if resumed else 'starts at'} step {trainer.step} of {trainer.total}")
        name = "/".join(folder.parts[-5:])
        with EventLog.open(log_to, workspace.folder / "events", config, name) as trainer.events:
            _train_until_signal(trainer, checkpoint_seconds, progress)
        scalars = chain(
            metric_scalars(trainer.metrics.rows),
            component_scalars(trainer.components.rows() if trainer.components else ()),
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_events(log_to, folder / "events", config, name, scalars)
        _publish(trainer, folder, facts, code, mark, threads)
        workspace.remove()


def _train_until_signal(trainer: Trainer, seconds: float, progress: TextIO | None) -> None:
    def ask_to_stop(*_):
        trainer.stop_requested = True

    before = signal.signal(signal.SIGTERM, ask_to_stop)
    try:
        trainer.train(seconds, progress)
    except Interrupted as interruption:
        print(f"SIGTERM: {interruption}; the next attempt goes on from there", flush=True)
        raise SystemExit(SIGTERM_EXIT) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _publish(
    trainer: Trainer, folder: Path, facts: dict, code: str, mark: str, threads: int
) -> None:
    """Writes the run's files; summary.json, which says that the run is whole, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", trainer.config)
    _write_routing(folder / "routing.csv", as_records(trainer.optimizers.routes))
    trainer.metrics.write(folder / "metrics.parquet")
    write_geometry(folder / "geometry.parquet", trainer.geometry.rows() if trainer.geometry else [])
    components = trainer.components.rows() if trainer.components else []
    write_components(folder / "components.parquet", components)
    trainer.workspace.publish("snapshots", folder / "snapshots")
    trainer.workspace.publish("updates", folder / "updates")
    save_weights(folder / "weights.safetensors", trainer.model)
    write_json(folder / "provenance.json", _provenance(trainer, facts, code, mark, threads))
    summary = summarise(trainer.config, trainer.metrics, trainer.step, trainer.stopped_at)
    summary["parameters"] = sum(p.numel() for p in trainer.model.parameters())
    write_json(folder / "summary.json", summary)


def _provenance(trainer: Trainer, facts: dict, code: str, mark: str, threads: int) -> dict:
    clock = trainer.clock.read()
    epochs = max(trainer.step, 1) / trainer.update.per_epoch
    step_seconds, step_cpu_seconds = trainer.clock.step_seconds()
    cuda = trainer.device == "cuda"
    tokens = trainer.update.tokens(trainer.step)
    return {
        "stamp": mark,
        "code_digest": code,
        "data": facts,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "device_type": trainer.device,
        "threads": threads,
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "seconds": clock["total"],
        "seconds_in_updates": clock["updates"],
        "seconds_in_watching": clock["watching"],
        # On a GPU the optimizers' kernels run on after their calls return.
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


def _write_routing(path: Path, rows: list[dict]) -> None:
    import csv

    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _finished(folder: Path, mark: str) -> bool:
    """Whether `folder` holds the finished run with this stamp."""
    try:
        provenance = json.loads((folder / "provenance.json").read_text())
        return provenance["stamp"] == mark and (folder / "summary.json").exists()
    except (OSError, ValueError, KeyError):
        return False
