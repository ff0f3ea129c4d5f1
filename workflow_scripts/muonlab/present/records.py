"""Run records as tables: the files of run folders in, tidy pandas frames out."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


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
        frame = pd.read_parquet(file, columns=columns)
        frame.insert(0, "arm", run["arm"])
        frame.insert(1, "seed", run["seed"])
        # Stored once each, texts come back as categories, which differ from run to run.
        texts = {name: str for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)}
        frames.append(frame.astype(texts))
    return pd.concat(frames, ignore_index=True)


def read_jsons(files: Sequence[str | Path]) -> list[dict]:
    return [json.loads(Path(file).read_text()) for file in files]


def read_provenances(runs: Sequence[dict], files: Sequence[str | Path]) -> pd.DataFrame:
    """Arm and seed of each run, and how much memory its training took."""
    fields = ("peak_host_bytes", "peak_device_bytes")
    return pd.DataFrame(
        {"arm": run["arm"], "seed": run["seed"]} | {field: record[field] for field in fields}
        for run, record in zip(runs, read_jsons(files), strict=True)
    )
