"""What benchmarks/gpu.sh needs besides a GPU: a valid study, and a table that reads the records."""

import argparse
import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from muonlab.plan.runs import load_plan

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_the_short_study_is_valid_and_has_one_trial_of_each_tuned_arm():
    plan = load_plan([ROOT / "config.yaml", BENCHMARKS / "gpu_study.yaml"])
    assert set(plan.studies) == {"moe"}


@pytest.fixture
def table(tmp_path):
    """Prints the table of records that are given by file."""

    def printed(**records):
        for name, lines in records.items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (tmp_path / f"{name}.jsonl").write_text(text)
        command = [sys.executable, str(BENCHMARKS / "gpu_targets.py"), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return printed


def test_the_table_says_what_is_met_missed_and_not_measured(table):
    training = [{"shape": "moe", "optimizer": "muon", "optimizer_over_passes": 0.2}]
    utilisation = [
        {"shape": "88m", "optimizer": "adamw", "model_flops_utilisation": 0.9},
        {"shape": "88m", "optimizer": "muon", "model_flops_utilisation": 0.4},
    ]
    records = {"optimizer": [{"set": "moe", "ratio": 5.0}], "training": training}
    lines = table(**records, utilisation=utilisation).splitlines()
    ends = [line.split()[-3:] for line in lines[1:]]
    assert ends[0] == ["≥", "5", "met"]
    assert "not measured" in lines[2]
    assert ends[2] == ["≥", "0.45", "missed"]
    assert ends[3] == ["≤", "0.25", "met"]


def test_the_table_reads_sets_and_fields_that_the_benchmarks_write():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        targets = runpy.run_path(str(BENCHMARKS / "gpu_targets.py"))["TARGETS"]
        sets = runpy.run_path(str(BENCHMARKS / "shape_sets.py"))["SHAPE_SETS"]
        shapes = runpy.run_path(str(BENCHMARKS / "lm_training.py"))["SHAPES"]
    finally:
        sys.path.remove(str(BENCHMARKS))
    fields = {"model_flops_utilisation": 1.0, "optimizer_over_passes": 1.0}
    records = [{"set": name, "ratio": 1.0} for name in sets]
    records += [{"shape": name, "optimizer": "muon", **fields} for name in shapes]
    for target in targets:
        assert target.read(records) == 1.0


@pytest.fixture
def utilisation(monkeypatch):
    """The module of the variants that may use a GPU better."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_utilisation")


def test_every_variant_names_choices_that_this_torch_has(utilisation):
    assert len({variant.name for variant in utilisation.VARIANTS}) == len(utilisation.VARIANTS)
    for variant in utilisation.VARIANTS:
        with variant.context():
            pass


def test_a_variant_that_fails_says_why_and_costs_the_others_nothing(utilisation):
    def unsupported():
        raise RuntimeError("no such kernel\nand more")

    variant = utilisation.Variant("impossible", context=unsupported)
    options = argparse.Namespace(shape="88m", device="cpu")
    record = utilisation.measured(variant, 1.0, options)
    assert record["reason"] == "RuntimeError: no such kernel"
    assert utilisation.row(record).split() == ["impossible", *record["reason"].split()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_so_in_one_line():
    done = subprocess.run([BENCHMARKS / "gpu.sh"], capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == "benchmarks/gpu.sh: torch sees no GPU on this machine\n"
