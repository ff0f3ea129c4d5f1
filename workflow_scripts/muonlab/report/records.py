"""Run records as tables: the files of run folders in, tidy pandas frames out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from muonlab.tuning.selection import first_at_or_under


def snapshot_losses(
    metrics: str | Path, snapshots: str | Path, split: str
) -> list[tuple[int, float]]:
    """(step, loss on `split`) at each step of which there is a snapshot, in order."""
    steps = {int(path.stem) for path in Path(snapshots).glob("*.safetensors")}
    table = pd.read_parquet(metrics)
    table = table[(table.split == split) & (table.metric == "loss") & table.step.isin(steps)]
    return [(int(s), float(v)) for s, v in zip(table.step, table.value, strict=True)]


def read_curves(
    runs: Sequence[dict], files: Sequence[str | Path], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The long-form records of all runs, and arm and seed before them. `runs[i]` (arm, seed) is the
    run whose records stand in `files[i]`; `columns` are those to read, all by default."""
    frames = []
    for run, file in zip(runs, files, strict=True):
        frame = _read(file, columns)
        frame.insert(0, "arm", run["arm"])
        frame.insert(1, "seed", run["seed"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def read_arms(arms: Sequence[str], files: Sequence[str | Path]) -> pd.DataFrame:
    """The long-form records of all arms, each in one file with its runs' seeds, and arm before."""
    frames = []
    for arm, file in zip(arms, files, strict=True):
        frame = _read(file)
        frame.insert(0, "arm", arm)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _read(file: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    frame = pd.read_parquet(file, columns=columns)
    # Stored once each, texts come back as categories, which differ from run to run.
    texts = {name: str for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)}
    return frame.astype(texts)


def read_jsons(files: Sequence[str | Path]) -> list[dict]:
    """The records in the files, each of which holds one or a list of them."""
    records = []
    for file in files:
        content = json.loads(Path(file).read_text())
        records += content if isinstance(content, list) else [content]
    return records


def matched_record(
    metrics: str | Path, snapshots: Path, summary: str | Path, target: float
) -> dict:
    """The first snapshot of a run whose loss is at or under `target`: step, loss, reached and
    target_loss; where none is, that of the lowest loss, with reached False."""
    split = json.loads(Path(summary).read_text())["evaluated_on"]
    losses = snapshot_losses(metrics, snapshots, split)
    step, loss, reached = first_at_or_under(losses, target)
    record = {"step": step, "loss": loss if loss == loss else None, "reached": reached}
    return record | {"target_loss": target}


def read_provenances(runs: Sequence[dict], files: Sequence[str | Path]) -> pd.DataFrame:
    """Arm and seed of each run, and how much memory its training took."""
    fields = ("peak_host_bytes", "peak_device_bytes")
    return pd.DataFrame(
        {"arm": run["arm"], "seed": run["seed"]} | {field: record[field] for field in fields}
        for run, record in zip(runs, read_jsons(files), strict=True)
    )
