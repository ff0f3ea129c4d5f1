"""The package: what it holds, that equal content gives equal bytes, and what verifying sees."""

import json
import tarfile

import numpy as np
import pandas as pd
import pytest

from muonlab.report.packing import CHECKLIST, JOBS, MANIFEST, VERIFY, pack
from muonlab.report.records import write_csv
from muonlab.report.reproduce import changed_files, difference, rebuilt_tables
from muonlab.report.tables.stability import stability

RUNS = "results/x/runs/one/seed-1"
TABLE = "results/x/study/tables/stability.csv"


def metrics():
    rng = np.random.default_rng(3)
    rows = [
        {"step": step, "split": "train", "metric": metric, "value": float(rng.uniform(1, 2))}
        for step in range(40)
        for metric in ("loss", "gradient_norm")
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one run and one table, which was made from it."""
    for name in (f"workflow_scripts/{VERIFY}", "workflow_scripts/__pycache__/x.pyc", "config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    run = tmp_path / RUNS
    (run / "records" / "snapshots").mkdir(parents=True)
    (run / "records" / "snapshots" / "1.safetensors").write_text("weights")
    (run / "records" / "geometry.parquet").write_text("geometry")
    metrics().to_parquet(run / "metrics.parquet")
    (tmp_path / TABLE).parent.mkdir(parents=True)
    write_csv(stability(metrics().assign(arm="muon", seed=1)), tmp_path / TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def packed(project, name="package.tar.gz"):
    job = {
        "make": "muonlab.report.tables.stability:stability",
        "needs": ["metrics"],
        "values": {"runs": [{"arm": "muon", "seed": 1, "run": "one/seed-1"}]},
        "of": {"metrics": "runs"},
        "inputs": {"metrics": [f"{RUNS}/metrics.parquet"], "records": [f"{RUNS}/records"]},
        "outputs": {"stability": TABLE},
    }
    target = project / name
    pack(target, project, [], [project.joinpath(TABLE).relative_to(project)], [job], "# points\n")
    return target


def unpacked(archive, folder):
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside


def test_it_holds_code_records_and_results_but_no_weights(project, tmp_path):
    folder = unpacked(packed(project), tmp_path / "elsewhere")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {MANIFEST, JOBS, CHECKLIST, VERIFY, "ENVIRONMENT.txt", TABLE} <= found
    assert {f"{RUNS}/metrics.parquet", f"{RUNS}/records/geometry.parquet"} <= found
    assert not [name for name in found if "safetensors" in name or "__pycache__" in name]
    assert set(json.loads((folder / MANIFEST).read_text())) == found - {MANIFEST}


def test_the_same_content_gives_the_same_bytes(project):
    assert packed(project).read_bytes() == packed(project).read_bytes()


def test_a_changed_file_and_a_changed_table_are_seen(project, tmp_path, monkeypatch):
    folder = unpacked(packed(project), tmp_path / "elsewhere")
    monkeypatch.chdir(folder)
    assert changed_files(folder) == []
    assert list(rebuilt_tables(folder)) == [(TABLE, "")]
    table = pd.read_csv(folder / TABLE)
    write_csv(table.assign(mean_loss=table.mean_loss + 1), folder / TABLE)
    assert changed_files(folder) == [TABLE]
    ((_, how),) = rebuilt_tables(folder)
    assert how.startswith("the column mean_loss by up to 1")


def test_rounding_is_no_difference():
    one = pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None]})
    assert difference(one.assign(a=one.a * (1 + 1e-9)), one) == ""
    assert difference(one.assign(a=one.a * 1.01), one).startswith("the column a")
    assert difference(one.assign(b="y"), one) == "the column b"
    assert difference(one.iloc[:1], one) == "1 rows and not 2"
    assert difference(one.rename(columns={"a": "c"}), one) == "other columns"
