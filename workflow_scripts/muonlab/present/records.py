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


def read_curves(runs: Sequence[dict], files: Sequence[str | Path]) -> pd.DataFrame:
    """All metrics of the runs: arm, seed, step, split, metric, value. `runs[i]` (arm, seed) is the
    run whose metrics stand in `files[i]`."""
    frames = [
        pd.read_parquet(file).assign(arm=run["arm"], seed=run["seed"])
        for run, file in zip(runs, files, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def read_jsons(files: Sequence[str | Path]) -> list[dict]:
    return [json.loads(Path(file).read_text()) for file in files]
