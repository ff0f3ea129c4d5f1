"""A run as a job: lock, resume, train, and put the finished files in place, either all or none."""

import json
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

import torch

from muonlab.io.errors import UserError
from muonlab.io.locks import exclusive
from muonlab.observers.events import (
    EventLog,
    component_scalars,
    metric_scalars,
    require_packages,
    write_events,
)
from muonlab.observers.progress import ProgressBar
from muonlab.training.build import build_splits
from muonlab.training.checkpoint import Workspace, read_checkpoint, stamp
from muonlab.training.folder import is_finished, publish, remove_leftovers
from muonlab.training.loop import Interrupted, Trainer
from muonlab.training.team import Team
from muonlab.training.watching import Recorders

SIGTERM_EXIT = 128 + signal.SIGTERM
# What the leader of a team tells the others when it has opened the run.
FRESH, RESUMED, FINISHED = range(3)


def train_run(
    config: dict,
    code: str,
    observer_code: str,
    data: Path,
    folder: Path,
    device: str = "cpu",
    threads: int = 1,
    checkpoint_seconds: float = 30.0,
    log_to: Sequence[str] = (),
    progress: TextIO | None = None,
    team: Team | None = None,
) -> None:
    """Trains the run `config` on the prepared data set in `data` and fills `folder`.

    `code` is the digest of the training code, `observer_code` that of the observers' code, which
    moves no weight. The unfinished run is kept in `folder`.partial, from which a later call resumes
    it. `folder`.lock keeps two processes from training the same run: the second one waits and then
    returns with the results of the first. `log_to` names additional logs (tensorboard, wandb), in
    `folder`.partial/events during the run and in `folder`/events after it; they are not part of its
    results. On SIGTERM the state is saved and the process exits with 143. Every process of a `team`
    calls this with the same arguments; its leader alone locks, saves and publishes. Raises
    UserError if the device does not exist.
    """
    team = team or Team()
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("train: a GPU was asked for (resource gpu), and torch sees none")
    if config["training"]["compile"] and device != "cuda":
        raise UserError("training.compile: is for GPUs, and the run is on a CPU; set it to false")
    require_packages(log_to)
    torch.set_num_threads(threads)
    facts = json.loads((data / "digest.json").read_text())
    mark = stamp(config, code, facts, device)
    partial = folder.with_name(folder.name + ".partial")
    if not team.leads:
        _follow(config, facts, data, device, team, partial)
        return
    with exclusive(folder.with_name(folder.name + ".lock")) as waited:
        if waited and is_finished(folder, mark):
            print("another process has finished this run meanwhile")
            team.tell(FINISHED)
            return
        remove_leftovers(folder)
        workspace = Workspace(partial, mark)
        trainer = Trainer(config, facts, build_splits(config, data, facts, device), device, team)
        recorders = Recorders(trainer, workspace.folder, observer_code)
        sizes = _resume(trainer, recorders, workspace)
        if sizes:
            print(f"resumes at step {trainer.step} of {trainer.total}")
        team.tell(RESUMED if sizes else FRESH)
        if team.size not in sizes:
            sizes.append(team.size)
        name = "/".join(folder.parts[-2:])
        with (
            EventLog.open(log_to, workspace.folder / "events", config, name) as log,
            _progress_bar(trainer, progress) as bar,
        ):
            trainer.observers = [*recorders, log, bar]
            _train_until_signal(
                trainer, lambda: _save(trainer, recorders, workspace, sizes), checkpoint_seconds
            )
        folder.mkdir(parents=True, exist_ok=True)
        made_by = {"stamp": mark, "code_digest": code, **recorders.provenance()}
        made_by |= {"data": facts, "threads": threads, "processes": sizes}
        with _undisturbed():
            write_events(log_to, folder / "events", config, name, _scalars(trainer, recorders))
            publish(trainer, recorders, folder, made_by)
            workspace.remove()


def _follow(config: dict, facts: dict, data: Path, device: str, team: Team, partial: Path) -> None:
    """Makes the updates of a run whose leader is another process of the team."""
    word = team.tell()
    if word == FINISHED:
        return
    trainer = Trainer(config, facts, build_splits(config, data, facts, device), device, team)
    if word == RESUMED:
        trainer.load_state_dict(read_checkpoint(partial)["run"])
    _train_until_signal(trainer, lambda: None, math.inf)


def _resume(trainer: Trainer, recorders: Recorders, workspace: Workspace) -> list[int]:
    """Resumes from the workspace's checkpoint, if there is one; returns the numbers of processes
    that have trained the run so far."""
    state = workspace.load()
    if state is None:
        return []
    recorders.load_state_dict(state.get("recorders", {}), state["run"]["step"])
    trainer.load_state_dict(state["run"])
    return list(state["processes"])


def _save(
    trainer: Trainer, recorders: Recorders, workspace: Workspace, sizes: Sequence[int]
) -> None:
    state = {"run": trainer.state_dict(), "recorders": recorders.state_dict()}
    workspace.save(state | {"processes": list(sizes)})


def _progress_bar(trainer: Trainer, file: TextIO | None) -> ProgressBar:
    return ProgressBar(
        file, trainer, trainer.config["optimizer"]["lr"], trainer.splits["train"].unit
    )


def _scalars(trainer: Trainer, recorders: Recorders):
    """The scalars of the finished run's logs."""
    components = recorders.observers.get("components")
    rows = components.rows() if components else ()
    return chain(metric_scalars(trainer.metrics.rows), component_scalars(rows))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets the files of a finished run be written although SIGTERM comes: that takes less time
    than the seconds which a scheduler leaves before it kills."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _train_until_signal(trainer: Trainer, save: Callable[[], None], seconds: float) -> None:
    def ask_to_stop(*_):
        trainer.stop_requested = True

    before = signal.signal(signal.SIGTERM, ask_to_stop)
    try:
        trainer.train(save, seconds)
    except Interrupted as interruption:
        print(f"SIGTERM: {interruption}; the next attempt goes on from there", flush=True)
        raise SystemExit(SIGTERM_EXIT) from None
    finally:
        signal.signal(signal.SIGTERM, before)
