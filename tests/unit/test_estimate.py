"""What a configuration will cost: operations against those of real models, times by hand."""

import base64
import json
from pathlib import Path

import pytest
import torch

from muonlab.models.size import flops_per_token as flops_of_model
from muonlab.models.transformer import Transformer
from muonlab.optim.iteration import plain_flops
from muonlab.plan import flops, slowness, times
from muonlab.plan.estimate import (
    CALLS,
    CALLS_OF_EXPERTS,
    OUTSIDE,
    SCHEDULING,
    Estimator,
    table,
)
from muonlab.plan.known import Known
from muonlab.plan.models import Transformer as Section
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import load_plan

ROOT = Path(__file__).parents[2]
PLAN = load_plan([ROOT / "config.yaml"])
OUTPUTS = Outputs(PLAN)
NOTHING = times.Times({}, {}, [])
FACTS = {
    "digits": {
        **{"inputs": 64, "classes": 10},
        "splits": {
            n: {"examples": k} for n, k in (("train", 1137), ("validation", 300), ("test", 360))
        },
    },
    **{
        name: {
            "vocab": 512,
            "splits": {n: {"tokens": 9600} for n in ("train", "validation", "test")},
        }
        for name in PLAN.data
        if name != "digits"
    },
}


def model_section(**fields):
    base = {"name": "transformer", "context": 24, "width": 32, "layers": 3, "heads": 4}
    return Section(**base | {"feedforward": 40} | fields).model_dump()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": "swiglu", "kv_heads": 2},
        {"experts": 5, "top_k": 2},
        {"experts": 5, "top_k": 1, "activation": "swiglu", "tied": False, "kv_heads": 1},
    ],
)
def test_operations_are_those_that_the_models_tensors_give(fields):
    section = model_section(**fields)
    settings = {key: value for key, value in section.items() if key != "name"}
    with torch.device("meta"):
        model = Transformer(vocab=97, **settings)
    assert flops.flops_per_token(section, 97) == flops_of_model(model, 24)


def test_the_iteration_costs_what_its_own_count_says():
    section = model_section(experts=3)
    optimizer = {"name": "muon", "ns_steps": 5, "orthogonalize": True}
    optimizer["components"] = ["query", "expert_up", "router"]
    shapes = [(32, 32)] + 3 * [(32, 40)] + [(3, 32)]
    wanted = 3 * sum(plain_flops(5, m, n) for m, n in shapes)
    config = {"optimizer": optimizer, "model": section}
    assert flops.iteration_flops(config) == wanted
    assert flops.iteration_flops(config | {"optimizer": {"name": "adamw"}}) == 0


def test_updates_and_evaluations_are_counted_as_training_makes_them():
    training = {
        **{"steps": None, "epochs": 3, "batch_size": 64, "accumulation": 2, "train_on": ["train"]},
        **{"evaluate_on": "validation", "eval_every": 10, "evaluation_examples": 100},
    }
    config = {"training": training, "model": {"name": "mlp"}, "phase": "tuning"}
    facts = FACTS["digits"]
    assert flops.updates_of(config, facts) == 3 * 9  # 18 batches, two for an update
    # At 0, 10 and 20 and, as the last one, at 27 with 100 examples each; then the whole split.
    assert flops.evaluated_examples(config, facts) in (3 * 100 + 300, 4 * 100 + 300)
    reporting = flops.evaluated_examples(config | {"phase": "reporting"}, facts)
    assert reporting == flops.evaluated_examples(config, facts) + 360


def studies(*names):
    return [Known(PLAN.studies[name]) for name in names]


def test_without_any_finished_job_the_times_follow_from_operations_and_the_stated_rates():
    slow = 1.5
    estimator = Estimator(PLAN, OUTPUTS, FACTS, NOTHING, slow)
    found = {s.name: s for s in estimator.of(studies("comparison")).stages if s.study}
    tuning, study = found["tuning"], PLAN.studies["comparison"]
    assert tuning.jobs == 2 * study.tuning["trials"] * len(study.tuning["seeds"])
    assert tuning.measured == 0
    model, steps = study.arms["adamw"].settings["model"], 32
    calls = steps * (CALLS["transformer"] + CALLS_OF_EXPERTS) * model["layers"]
    beside = slow * tuning.jobs * (OUTSIDE + calls)
    assert tuning.cpu_seconds == pytest.approx(tuning.flops / 20e9 + beside)
    assert tuning.gpu_seconds == pytest.approx(tuning.flops / 20e12 + beside)
    assert found["reporting"].jobs == len(study.arms) * len(study.seeds)
    cells = [cell for cell in study.cells if not cell.is_own]
    asked = sum(len(study.seeds[: study.factors[c.factor]["seeds"]]) for c in cells)
    # Levels that come to the same settings, such as the study itself at one rate, are one run.
    assert found["levels of factors"].jobs <= asked
    for name, made in (("tables", OUTPUTS.tables), ("texts", OUTPUTS.texts)):
        assert found[name].jobs <= len(made("comparison"))


def test_a_run_that_two_studies_share_is_counted_once():
    estimator = Estimator(PLAN, OUTPUTS, FACTS, NOTHING)
    stages = estimator.of(studies("comparison", "comparison")).stages
    counted = [s.jobs for s in stages if s.name == "reporting"]
    assert counted == [len(PLAN.studies["comparison"].arms) * 4]


def test_measured_times_are_taken_where_there_are_some():
    study = PLAN.studies["comparison"]
    [first, *_] = Known(study).tuning_runs
    flop = flops.flops_per_update(first.config, FACTS["python"])
    watching = flops.evaluated_examples(first.config, FACTS["python"]) * flops.flops_per_example(
        first.config, FACTS["python"]
    )
    done = times.Finished(0.5, 2.0, flop, watching // 3, "cpu")
    measured = times.Times(
        {times.shape_of(first.config): [done] * 3},
        {"tabulate_runs": [7.0], "plot_effects": [3.0, 5.0, 4.0]},
        [0.25],
    )
    found = {
        s.name: s
        for s in Estimator(PLAN, OUTPUTS, FACTS, measured).of(studies("comparison")).stages
    }
    tuning = found["tuning"]
    assert tuning.measured == tuning.jobs // 2  # AdamW's; Muon's steps have another shape
    adamw = tuning.jobs // 2 * (32 * 0.5 + 2.0 + 0.25)
    rate = flop / 0.5
    muon = sum(
        flops.flops_per_update(run.config, FACTS["python"]) * 32 + watching // 3
        for run in Known(study).tuning_runs
        if run.arm == "muon"
    )
    later = 2  # the second round is expected to cost what the first does
    assert tuning.cpu_seconds == pytest.approx(
        adamw + later * muon / rate + tuning.jobs // 2 * 0.25, rel=0.01
    )
    # Rules that ran are at their own median, the others at that of their kind.
    assert found["tables"].cpu_seconds == pytest.approx(7.0 * found["tables"].jobs)
    assert found["figures"].cpu_seconds == pytest.approx(4.0 * found["figures"].jobs)


def test_rates_of_runs_of_quite_another_size_are_not_taken():
    run = times.Finished(0.1, 1.0, 10**9, 10**8, "cpu")
    measured = times.Times({"x": [run]}, {}, [])
    assert measured.rate(2 * 10**9, "cpu") == pytest.approx(10**10)
    assert measured.rate(9 * 10**9, "cpu") is None and measured.rate(10**9, "cuda") is None


def test_finished_runs_and_jobs_are_read_and_broken_files_passed_over(tmp_path):
    config = Known(PLAN.studies["comparison"]).tuning_runs[0].config
    folder = tmp_path / "results/mini/runs/a/tuning-seed-1"
    folder.mkdir(parents=True)
    told = {"seconds": 5.0, "seconds_in_updates": 3.0, "device_type": "cpu"}
    record = {"config": config, "summary": {"steps": 32}, "provenance": told}
    (folder / "run.json").write_text(json.dumps(record))
    for broken, text in (("b", "{"), ("c", "{}"), ("d", "[]")):
        other = tmp_path / f"results/mini/runs/{broken}/seed-1"
        other.mkdir(parents=True)
        (other / "run.json").write_text(text)
    jobs = tmp_path / "metadata"
    name = base64.urlsafe_b64encode((folder / "run.json").as_posix().encode()).decode()
    deep = jobs / f"@{name[:60]}"
    deep.mkdir(parents=True)
    whole = {"rule": "train_trial", "starttime": 10.0, "endtime": 15.5}
    (deep / name[60:]).write_text(json.dumps(whole))
    (jobs / base64.urlsafe_b64encode(b"results/x.csv").decode()).write_text(
        json.dumps({"rule": "tabulate_x", "starttime": 1.0, "endtime": 3.0})
    )
    (jobs / "broken").write_text("no JSON")
    found = times.read_times(tmp_path / "results", jobs, FACTS)
    [run] = found.alike(config, "cpu")
    assert (run.update_seconds, run.other_seconds) == pytest.approx((3.0 / 32, 2.0))
    assert found.outside == pytest.approx([0.5])
    assert found.rule("tabulate_x") == 2.0 and found.rule("tabulate_y") is None
    assert found.kind("tabulate_") == 2.0


def test_the_table_has_each_stage_its_total_and_says_that_nothing_was_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, lines = Estimator(PLAN, OUTPUTS, FACTS, NOTHING).of(studies("comparison")), []
    table(found, PLAN.estimate, lines.append, cores=4)
    text = "\n".join(lines)
    jobs = sum(stage.jobs for stage in found.stages)
    assert found.seconds / 4 < 60
    assert f"On 4 cores without a GPU: about {found.seconds / 4:.0f} s." in lines
    assert f"{jobs}" in text and "levels of factors" in text and lines[-1] == "Nothing was run."
    assert found.seconds == pytest.approx(
        sum(stage.cpu_seconds for stage in found.stages) + SCHEDULING * jobs
    )
    assert not list(tmp_path.iterdir())


def test_data_that_are_not_prepared_yet_are_sized_from_their_section():
    facts = flops.assumed_facts(PLAN.data["python"], "text")
    assert facts["vocab"] == 512 and 1e5 < facts["splits"]["train"]["tokens"] < 3e5
    digits = flops.assumed_facts(PLAN.data["digits"], "images")
    assert digits == FACTS["digits"]
    real = {"source": "fashion_mnist", "validation": 5000}
    splits = flops.assumed_facts(real, "images")["splits"]
    assert {name: own["examples"] for name, own in splits.items()} == {
        **{"train": 55_000, "validation": 5000, "test": 10_000}
    }


def test_a_slower_machine_takes_longer_for_what_was_not_measured_and_for_nothing_else():
    once, twice = (Estimator(PLAN, OUTPUTS, FACTS, NOTHING, slow) for slow in (1.0, 2.0))
    a, b = (estimator.of(studies("comparison")) for estimator in (once, twice))
    flops_alone = sum(stage.flops for stage in a.stages) / 20e9
    assert b.seconds - flops_alone == pytest.approx(2 * (a.seconds - flops_alone))
    measured = times.Times({}, {"tabulate_runs": [7.0]}, [])
    tables = [
        next(
            s
            for s in Estimator(PLAN, OUTPUTS, FACTS, measured, slow).of(studies("moe")).stages
            if s.name == "tables"
        ).cpu_seconds
        for slow in (1.0, 2.0)
    ]
    assert tables[0] == tables[1]


def test_the_probe_of_slowness_takes_the_time_that_it_says(monkeypatch):
    seconds = iter([0.0, 0.007] * slowness.PROBES)
    monkeypatch.setattr(slowness.time, "perf_counter", lambda: next(seconds))
    found = slowness.slowness.__wrapped__()
    assert found == pytest.approx(0.007 / slowness.REFERENCE)
