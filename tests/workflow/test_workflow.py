"""The workflow as a user calls it: plans, targets, a second run, the report."""

import json
import re
import subprocess
import sys
import tarfile

import pandas as pd

ARMS, RATES, TUNING_SEEDS, SEEDS = 2, 2, 1, 2


TARGETS = ["all", "data", "tune", "train", "runs", "spectra", "curvature", "quantize"]
TARGETS += ["statistics", "tables", "figures", "claims", "thesis", "fashion"]


def test_a_dry_run_plans_the_tuning_runs(project):
    outcome = project.snakemake("-n")
    assert outcome.code == 0, outcome.err
    assert outcome.jobs["train_trial"] == ARMS * RATES * TUNING_SEEDS
    assert outcome.jobs["prepare_images"] == 1
    assert outcome.jobs["select"] == 1
    assert not (project.folder / "results").exists()


def test_the_first_run_trains_each_run_once(finished_once):
    finished = finished_once.first.finished
    assert finished["train_trial"] == ARMS * RATES * TUNING_SEEDS
    assert finished["train_run"] == ARMS * SEEDS
    assert finished["measure_spectra"] == ARMS
    assert finished["measure_curvature"] == ARMS * SEEDS
    assert finished["select"] == 1


def test_a_second_run_has_nothing_to_do(finished):
    outcome = finished.snakemake()
    assert outcome.code == 0
    assert outcome.nothing_to_do


def test_every_target_is_there_and_done(finished):
    outcome = finished.snakemake(*TARGETS)
    assert outcome.code == 0, outcome.err
    assert outcome.nothing_to_do


def test_tables_hold_a_row_for_each_run(finished_once):
    tables = finished_once.folder / "results/mini/fashion/tables"
    runs = pd.read_csv(tables / "runs.csv")
    assert len(runs) == ARMS * SEEDS
    assert runs.test_accuracy.between(0, 1).all()
    tuning = pd.read_csv(tables / "tuning.csv")
    assert len(tuning) == ARMS * RATES * TUNING_SEEDS
    # Two rates only: whichever is chosen lies on an edge, and the tables say so.
    assert tuning[tuning.chosen].edge.str.contains("lr=(?:low|high)").all()
    summary = pd.read_csv(tables / "summary.csv")
    assert summary.edge.str.contains("lr=").all()
    for run in runs.run:
        assert (finished_once.folder / "results/mini/runs" / run / "run.json").exists()


def test_no_run_is_left_out_at_equal_loss(finished_once):
    """Every run passes every level, with a snapshot on each side of it."""
    results = finished_once.folder / "results" / "mini"
    runs = pd.read_csv(results / "fashion/tables/runs.csv")
    levels = runs[[f"level_at_loss_{i}" for i in (1, 2, 3)]].iloc[0]
    for row in runs.itertuples():
        metrics = pd.read_parquet(results / "runs" / row.run / "metrics.parquet")
        losses = metrics[(metrics.split == "validation") & (metrics.metric == "loss")]
        assert losses.value.min() <= levels.min() and levels.max() < losses.value.iloc[0]
    table = pd.read_csv(results / "fashion/tables/contrasts.csv")
    equal = table[table.point.str.startswith("loss", na=False)]
    assert set(equal.point) == {"loss 1", "loss 2", "loss 3"}
    # Before the first snapshot there is no update along which sharpness could be measured.
    equal = equal[~equal.outcome.str.startswith("directional_sharpness")]
    assert equal[["level", "loss_a", "loss_b", "difference"]].notna().all(axis=None)
    assert (equal.n == SEEDS).all()


def test_figures_are_svg_png_and_pdf(finished_once):
    figures = finished_once.folder / "results/mini/fashion/figures"
    for name in ("learning_curves", "lr_sweep"):
        assert (figures / f"{name}.svg").read_text().startswith("<?xml")
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_claims_and_the_thesis_are_made(finished_once):
    results = finished_once.folder / "results" / "mini"
    claims = pd.read_csv(results / "claims.csv")
    assert set(claims.number) == set(range(1, 19))
    own = claims[(claims.number == 1) & (claims.study == "fashion")]
    assert own.fair_answer.iloc[0] == "no verdict (n = 2)"
    assert (results / "thesis.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "latex" / "claims.tex").exists()


def test_the_package_verifies_itself(finished, tmp_path):
    outcome = finished.snakemake("package")
    assert outcome.code == 0, outcome.err
    assert finished.snakemake("package").nothing_to_do
    (archive,) = (finished.folder / "results" / "mini").glob("package-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "elsewhere", filter="data")
    (folder,) = (tmp_path / "elsewhere").iterdir()

    def verify():
        command = [sys.executable, "verify.py"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)

    sound = verify()
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "files: all as packed" in sound.stdout
    assert re.search(r"tables: (\d+) of \1 are the same", sound.stdout)
    table = folder / "results/mini/fashion/tables/runs.csv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    changed = verify()
    assert changed.returncode == 1 and "runs.csv differs" in changed.stdout


def test_the_report_is_one_file_that_asks_the_network_for_nothing(finished_once):
    report = (finished_once.folder / "results/mini/report.html").read_text()
    assert "<strong>Learning curves.</strong>" in report
    assert "95 % t interval" in report or "95 % t intervals" in report
    loaded = re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](https?:[^"']+)""", report)
    assert not loaded


def test_runs_say_where_they_come_from(finished_once):
    data = json.loads((finished_once.folder / "results/mini/data/digits/digest.json").read_text())
    for path in (finished_once.folder / "results/mini/runs").rglob("run.json"):
        provenance = json.loads(path.read_text())["provenance"]
        assert provenance["data"] == data
        assert provenance["device_type"] == "cpu"
        assert provenance["packages"]["torch"]
        for digest in ("code_digest", "observer_digest"):
            assert re.fullmatch(r"[0-9a-f]{16}", provenance[digest])


def test_parsing_the_workflow_does_not_import_torch(project):
    code = (
        "import sys\n"
        "from snakemake.cli import main\n"
        "files = ['core.yaml', 'tiny.yaml']\n"
        "try: main(['-n', '--quiet', 'all', '--cores', '1', '--configfile', *files])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.folder, check=True)
