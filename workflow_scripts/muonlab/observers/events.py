"""A run's scalars for TensorBoard and for Weights & Biases, beside the run's own record.

These files only show what the run's record (metrics, components) already holds. A log is always
opened empty: a resumed run deletes what an earlier attempt wrote and writes its record so far
again, and a finished run writes its files anew from the record. So no point is doubled or lost.
Weights & Biases is written offline, without an account; `wandb sync` uploads a finished folder.
Both packages are optional.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Protocol

from muonlab.hooks import Observer, Run
from muonlab.io.errors import UserError
from muonlab.observers.components import FORWARD

PROJECT = "muonlab"  # the project's name in Weights & Biases
FLUSH_SECONDS = 10  # TensorBoard shows a new point after at most this time

Scalars = tuple[int, dict[str, float]]  # step, {tag: value}


class Writer(Protocol):
    """One kind of log."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class EventLog(Observer):
    """Writes scalars to every kind of log that the config asks for, which may be none."""

    def __init__(self, writers: Sequence[Writer]):
        self._writers = list(writers)
        self._told = 0  # number of rows of the run's metrics that the log already has

    @classmethod
    def open(cls, kinds: Sequence[str], folder: Path, config: dict, run_name: str) -> "EventLog":
        """Logs of `kinds` in folders of `folder`, which is emptied first.

        `config` (JSON values) is written beside the scalars. UserError as in `require_packages`.
        """
        require_packages(kinds)
        shutil.rmtree(folder, ignore_errors=True)
        return cls([WRITERS[kind](folder, config, run_name) for kind in dict.fromkeys(kinds)])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values at `step` by tag, such as {"train/loss": 2.3}; in any order of steps."""
        for writer in self._writers:
            writer.scalars(step, values)

    def replay(self, events: Iterable[Scalars]) -> None:
        """Writes all of `events`, such as `metric_scalars` of a resumed run's rows."""
        if self._writers:
            for step, values in events:
                self.scalars(step, values)

    def after_updates(self, run: Run) -> None:
        """Writes the rows that the log does not have yet; after a resume, all since the start."""
        self.replay(metric_scalars(run.metrics.rows[self._told :]))
        self._told = len(run.metrics.rows)

    def close(self) -> None:
        """Closes the files; a second call does nothing."""
        while self._writers:
            self._writers.pop().close()

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class TensorBoardWriter:
    """Event files in folder/tensorboard; the wall time of a point is when it was written."""

    def __init__(self, folder: Path, config: dict, run_name: str):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), flush_secs=FLUSH_SECONDS)
        self._writer.add_text("run", run_name)
        indented = json.dumps(config, indent=2).replace("\n", "\n    ")
        self._writer.add_text("config", f"    {indented}")  # as Markdown's preformatted text

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        self._writer.close()


class WandbWriter:
    """An offline run in folder/wandb. Its id is made from the run's name, so that syncing a folder
    again updates the same run. Nothing is collected about the machine."""

    def __init__(self, folder: Path, config: dict, run_name: str):
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder / "wandb"
        self._run = wandb.init(
            mode="offline",
            dir=str(folder),
            project=PROJECT,
            name=run_name,
            id=hashlib.sha256(run_name.encode()).hexdigest()[:16],
            config=config,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        # A step axis of our own, since the step of Weights & Biases must never decrease.
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Closes the run and keeps only the files that `wandb sync` reads. Debugging logs are
        deleted; some of them are links to places outside."""
        self._run.finish()
        for path in self._folder.iterdir():
            if path.is_symlink():
                path.unlink()
        for name in ("logs", "tmp"):
            for path in self._folder.glob(f"offline-run-*/{name}"):
                shutil.rmtree(path)


WRITERS: dict[str, Callable[[Path, dict, str], Writer]] = {
    "tensorboard": TensorBoardWriter,
    "wandb": WandbWriter,
}


def require_packages(kinds: Iterable[str]) -> None:
    """UserError for a kind that is unknown or whose package, of the same name, is not installed.

    Imports nothing, so that a run can fail before it trains.
    """
    for kind in kinds:
        if kind not in WRITERS:
            raise UserError(
                f"training.log_to: {kind!r} is unknown; it may be {' or '.join(WRITERS)}"
            )
        if find_spec(kind) is None:
            raise UserError(
                f"training.log_to: {kind} needs the package {kind}; install it or remove it from "
                "log_to"
            )


def write_events(
    kinds: Sequence[str], folder: Path, config: dict, run_name: str, events: Iterable[Scalars]
) -> None:
    """Writes logs of a finished run's `events` to `folder`, either all of them or none; without
    kinds, none. The previous content is deleted. UserError as in `require_packages`."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with EventLog.open(kinds, temporary, config, run_name) as log:
            log.replay(events)
        shutil.rmtree(folder, ignore_errors=True)
        if kinds:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def metric_scalars(rows: Iterable[tuple[int, str, str, float]]) -> Iterator[Scalars]:
    """Scalars of `Metrics.rows` (step, split, metric, value), by step; the tag is split/metric."""
    for step, own in groupby(rows, key=lambda row: row[0]):
        yield step, {f"{split}/{metric}": value for _, split, metric, value in own}


def component_scalars(rows: Iterable[tuple]) -> Iterator[Scalars]:
    """The scalars of `ComponentMonitor.rows`, by step. The tag is metric/component for a component
    as a whole, and metric/layer_03 for values of the forward pass in a layer. Finer values are only
    in the record.
    """
    for step, own in groupby(rows, key=lambda row: row[0]):
        values = {}
        for _, component, layer, index, metric, value in own:
            if index is None and component == FORWARD:
                values[metric if layer is None else f"{metric}/layer_{layer:02d}"] = value
            elif index is None and layer is None:
                values[f"{metric}/{component}"] = value
        yield step, values
