"""Event logs hold exactly the record: once live, after a resume, and from the finished run."""

import json
import math
import os
import struct
import sys
from types import SimpleNamespace

import pytest

from muonlab.io.errors import UserError
from muonlab.observers import events
from muonlab.observers.events import (
    EventLog,
    component_scalars,
    metric_scalars,
    require_packages,
    write_events,
)
from muonlab.training.metrics import Metrics

CONFIG = {"seed": 1, "training": {"lr": 0.1, "log_to": ["tensorboard"]}, "note": None}


def some_metrics(steps=5):
    metrics = Metrics()
    for step in range(0, 10 * steps, 10):
        metrics.add(step, "validation", loss=4.0 / (step + 1), accuracy=step / 100)
        metrics.add(step, "train", loss=math.nan if step == 30 else 5.0 / (step + 1))
    return metrics


def points_of(rows):
    return sorted((f"{split}/{metric}", step, repr(v)) for step, split, metric, v in rows)


class Collected:
    """A writer that keeps what it is given."""

    def __init__(self, *opened_with):
        self.opened_with, self.points, self.closed = opened_with, [], 0

    def scalars(self, step, values):
        self.points += [(tag, step, repr(value)) for tag, value in values.items()]

    def close(self):
        self.closed += 1


def test_rows_become_scalars_by_step():
    metrics = some_metrics(2)
    found = list(metric_scalars(metrics.rows))
    assert [step for step, _ in found] == [0, 10]
    assert found[0][1] == {"validation/loss": 4.0, "validation/accuracy": 0.0, "train/loss": 5.0}


def test_components_become_scalars_as_wholes_and_by_layer_of_the_forward_pass():
    rows = [
        (0, "all", None, None, "gradient_norm", 1.0),
        (0, "all", 3, None, "gradient_norm", 2.0),
        (0, "query", None, None, "relative_update", 3.0),
        (0, "query", 3, None, "relative_update", 4.0),
        (0, "forward", 3, None, "residual_rms", 5.0),
        (0, "forward", None, None, "balance_loss", 6.0),
        (0, "forward", 3, 1, "expert_load", 7.0),
        (10, "all", None, None, "gradient_norm", 8.0),
    ]
    assert list(component_scalars(rows)) == [
        (
            0,
            {
                "gradient_norm/all": 1.0,
                "relative_update/query": 3.0,
                "residual_rms/layer_03": 5.0,
                "balance_loss": 6.0,
            },
        ),
        (10, {"gradient_norm/all": 8.0}),
    ]


def test_a_log_of_no_kind_writes_nothing(tmp_path):
    with EventLog.open([], tmp_path / "events", CONFIG, "run") as log:
        log.scalars(0, {"train/loss": 1.0})
        log.replay(metric_scalars(some_metrics().rows))
    write_events([], tmp_path / "events", CONFIG, "run", [(0, {"a": 1.0})])
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_log_drops_the_earlier_one_and_replays(tmp_path, monkeypatch):
    monkeypatch.setitem(events.WRITERS, "json", Collected)
    monkeypatch.setattr(events, "find_spec", lambda name: name)
    stale = tmp_path / "events" / "tensorboard" / "events.out.tfevents.1"
    stale.parent.mkdir(parents=True)
    stale.write_text("an attempt that was killed")
    metrics = some_metrics()
    with EventLog.open(["json", "json"], tmp_path / "events", CONFIG, "run") as log:
        assert not stale.exists()
        (writer,) = log._writers
        for rows in (metrics.rows[:6], metrics.rows):
            log.after_updates(SimpleNamespace(metrics=Metrics(rows)))
    assert sorted(writer.points) == points_of(metrics.rows)
    assert writer.opened_with == (tmp_path / "events", CONFIG, "run")
    log.close()
    assert writer.closed == 1


def test_a_missing_package_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    kept = tmp_path / "events" / "kept"
    kept.parent.mkdir()
    kept.write_text("")
    with pytest.raises(UserError) as mistake:
        EventLog.open(["tensorboard"], tmp_path / "events", CONFIG, "run")
    assert str(mistake.value) == (
        "training.log_to: tensorboard needs the package tensorboard; install it or remove it from "
        "log_to"
    )
    assert kept.exists()
    with pytest.raises(UserError, match="needs the package wandb"):
        require_packages(["wandb"])


def test_an_unknown_kind_is_one_sentence():
    with pytest.raises(UserError, match="'csv' is unknown; it may be tensorboard or wandb"):
        require_packages(["csv"])


def test_a_failed_writing_leaves_the_files_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setitem(events.WRITERS, "json", Collected)
    monkeypatch.setattr(events, "find_spec", lambda name: name)
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "kept").write_text("")

    def broken():
        yield 0, {"train/loss": 1.0}
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_events(["json"], tmp_path / "events", CONFIG, "run", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["events"]
    assert (tmp_path / "events" / "kept").exists()


def test_neither_package_is_imported_before_it_is_needed():
    import subprocess
    from pathlib import Path

    code = (
        "import sys; from muonlab.observers.events import require_packages, EventLog\n"
        "assert not {'tensorboard', 'wandb', 'torch.utils.tensorboard'} & set(sys.modules)"
    )
    scripts = str(Path(__file__).parents[2] / "workflow_scripts")
    environment = {**os.environ, "PYTHONPATH": scripts}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def tensorboard_points(folder):
    """(tag, step, value) of every scalar in the event files, and the texts by tag."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    points, texts = [], {}
    for path in sorted(folder.glob("tensorboard/*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                array = tensor_util.make_ndarray(value.tensor)
                if value.metadata.plugin_data.plugin_name == "text":
                    texts[value.tag] = array.item().decode()
                else:
                    points.append((value.tag, event.step, float(array)))
    return points, texts


def close_to(points, rows):
    """Whether the points are those of the rows, to float32, which event files hold."""
    expected = sorted((f"{sp}/{metric}", step, v) for step, sp, metric, v in rows)
    found = sorted(points, key=lambda point: point[:2])
    assert [point[:2] for point in found] == [point[:2] for point in expected]
    values = [point[2] for point in expected]
    assert [point[2] for point in found] == pytest.approx(values, rel=1e-6, nan_ok=True)


def test_tensorboard_has_each_point_once_after_a_resume_and_after_publishing(tmp_path):
    pytest.importorskip("tensorboard")
    metrics, folder = some_metrics(), tmp_path / "events"
    with EventLog.open(["tensorboard"], folder, CONFIG, "a run") as earlier:
        earlier.replay(metric_scalars(metrics.rows[:9]))  # beyond the checkpoint of row 6
    with EventLog.open(["tensorboard"], folder, CONFIG, "a run") as log:
        log.replay(metric_scalars(metrics.rows[:6]))
        log.replay(metric_scalars(metrics.rows[6:]))
    close_to(tensorboard_points(folder)[0], metrics.rows)
    write_events(["tensorboard"], folder, CONFIG, "a run", metric_scalars(metrics.rows))
    points, texts = tensorboard_points(folder)
    close_to(points, metrics.rows)
    assert json.loads(texts["config/text_summary"]) == CONFIG
    assert texts["run/text_summary"] == "a run"


def wandb_records(path):
    """The records of a .wandb file: after a header of 7 bytes, blocks of 32 KiB of chunks, each
    with a checksum, a length and whether it is a whole record or a part of one."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    while at < len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def wandb_points(folder):
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    points, config = [], {}
    for record in wandb_records(path):
        if record.HasField("run"):
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            values = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            step = values.pop("step")
            points += [(k, step, float(v)) for k, v in values.items() if not k.startswith("_")]
    return points, config


def test_wandb_has_each_point_once_after_a_resume(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "online")  # the user's own setting does not decide
    metrics, folder = some_metrics(), tmp_path / "events"
    stale = folder / "wandb" / "offline-run-0" / "run-0.wandb"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    with EventLog.open(["wandb"], folder, CONFIG, "study/a run") as log:
        log.replay(metric_scalars(metrics.rows[:9]))
        log.replay(metric_scalars(metrics.rows[9:]))
        log.scalars(0, {"residual_rms/layer_00": 1.0})  # steps may go back
    points, config = wandb_points(folder)
    assert ("residual_rms/layer_00", 0, 1.0) in points
    close_to([p for p in points if p[0] != "residual_rms/layer_00"], metrics.rows)
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
