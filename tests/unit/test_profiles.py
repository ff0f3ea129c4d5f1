"""The profiles: what both say is the same, and what that of SLURM must say for its jobs not to be
lost. What a run asks for grows with its size."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from muonlab.plan.duration import BASE_MINUTES, train_minutes
from muonlab.plan.models import MLP, Transformer
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import load_plan
from muonlab.plan.training import Training

ROOT = Path(__file__).parents[2]
DEFAULT, SLURM = (
    yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    for name in ("default", "slurm")
)
RULES = "\n".join(file.read_text() for file in (ROOT / "rules").glob("*.smk"))
TEXT = {"source": "local", "tokenizer": None, "vocab_size": 4096}


def test_what_decides_staleness_is_the_same_everywhere():
    keys = ("rerun-triggers", "rerun-incomplete", "max-checksum-file-size", "quiet")
    assert {key: SLURM[key] for key in keys} == {key: DEFAULT[key] for key in keys}
    # It would hold back jobs of an array, which the plugin then forgets.
    assert "max-jobs-per-timespan" not in SLURM


def test_retries_are_jobs_of_their_own_that_ask_for_more():
    assert SLURM["retries"] > 0
    assert not re.search(r"^\s+retries:", RULES, re.MULTILINE), "would stay in the allocation"
    assert all("attempt" in SLURM["default-resources"][name] for name in ("mem_mb", "runtime"))


def test_the_queue_is_asked_not_accounting():
    assert SLURM["slurm-status-command"] == "squeue"


def test_groups_are_not_used():
    """With checkpoints, Snakemake 9.27 submits a waiting group again and again."""
    assert not {"groups", "group-components"} & SLURM.keys()
    assert not re.search(r"^\s+group:", RULES, re.MULTILINE)


def test_arrays_are_of_rules_that_exist_and_nothing_limits_them():
    named = set(SLURM["slurm-array-jobs"].split(","))
    measured = {
        f"measure_{name}"
        for name in Outputs(load_plan([ROOT / "config.yaml"])).registry.measurements
    }
    assert named == {"train_trial", "train_run"} | measured
    limit = re.search(r"FEWEST_JOBS_FOR_ARRAYS = ([\d_]+)", RULES)[1]
    assert SLURM["jobs"] >= int(limit)


def asks_by_run(resource: str, nodes: int | None, limits: dict) -> bool:
    """The function of that name in rules/jobs.smk, as Snakemake calls it with these settings."""
    source = re.search(r"^def asks_by_run.*?(?=^def )", RULES, re.MULTILINE | re.DOTALL)[0]
    workflow = SimpleNamespace(
        resource_settings=SimpleNamespace(nodes=nodes), global_resources=limits
    )
    exec(source, scope := {"workflow": workflow})
    return scope["asks_by_run"](resource)


def test_each_run_asks_for_its_own_amount_where_something_limits_it():
    """Snakemake itself sets limits of cores and nodes."""
    local = {"_cores": 2, "_nodes": None}
    assert not asks_by_run("mem_mb", None, local) and not asks_by_run("runtime", None, local)
    assert asks_by_run("mem_mb", None, local | {"mem_mb": 9000})
    assert not asks_by_run("runtime", None, local | {"mem_mb": 9000})
    assert asks_by_run("mem_mb", 10_000, local) and asks_by_run("runtime", 10_000, local)


def minutes(gpu=False, data=None, model=None, **training) -> int:
    model = model or Transformer(name="transformer", context=32, width=64, heads=4)
    config = {"model": model.model_dump(), "training": Training(**training).model_dump()}
    return train_minutes(config, data or TEXT, gpu)


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 4000},
        {"batch_size": 256},
        {"accumulation": 4},
        {"model": Transformer(name="transformer", context=32, width=256, heads=4)},
        {"model": Transformer(name="transformer", context=128, width=64, heads=4)},
        {"data": TEXT | {"tokenizer": "a/ready-made-one"}},
    ],
)
def test_longer_runs_of_larger_models_ask_for_more_time(more):
    assert minutes(**{"steps": 1000, **more}) > minutes(steps=1000)


def test_a_gpu_asks_for_less_time_and_experts_cost_only_those_that_are_met():
    large = Transformer(name="transformer", context=512, width=512, heads=8)
    assert minutes(gpu=True, steps=1000, model=large) < minutes(steps=1000, model=large)

    def of(experts):
        return Transformer(
            name="transformer", context=512, width=512, heads=8, experts=experts, top_k=2
        )

    ratio = minutes(steps=1000, model=of(16)) / minutes(steps=1000, model=of(4))
    assert 1 <= ratio < 1.1


def test_epochs_of_images_and_of_text():
    mlp = MLP(name="mlp")
    assert minutes(model=mlp, epochs=40) > minutes(model=mlp, epochs=20) > BASE_MINUTES
    bounded = TEXT | {"max_tokens": 10**6}
    assert minutes(data=bounded, epochs=2) < minutes(data=TEXT, epochs=2)


def test_the_largest_run_of_a_plan_asks_for_as_much_as_any():
    outputs = Outputs(load_plan([ROOT / "config.yaml"]))
    study = outputs.plan.studies["moe"]
    runs = study.reporting_runs("muon", {"lr": 0.01})
    assert outputs.most_memory() >= max(outputs.memory(run.config) for run in runs)
    assert outputs.most_minutes(False) >= max(outputs.minutes(run.config, False) for run in runs)
    assert outputs.most_minutes(True) <= outputs.most_minutes(False)


def test_the_published_sizes_fit_a_day_on_a_gpu():
    """A partition's limit is often a day; a study beyond it would never start."""
    for name in ("fashion", "moe", "ablation"):
        plan = load_plan([ROOT / "config.yaml", ROOT / f"studies/{name}.yaml"])
        assert Outputs(plan).most_minutes(True) < 24 * 60, name
