"""What is known of a study: rounds and choices that jobs wrote, also those of an earlier config."""

import json
import os

import pytest
import yaml
from test_plan import SMALL

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.runs import load_plan
from muonlab.plan.written import Written

TWO_ROUNDS = {"tuning": SMALL["studies"]["toy"]["tuning"] | {"extensions": 1}}
PROPOSAL = {
    "spaces": {"adamw": {"lr": [0.01, 0.1]}, "muon": {"lr": [0.01, 0.1]}},
    "points": {"adamw": [{"lr": 0.1}, {"lr": 0.01}], "muon": [{"lr": 0.1}]},
}


def chosen(**rates):
    arms = {arm: {"settings": {"lr": lr}, "edges": {"lr": "high"}} for arm, lr in rates.items()}
    return {"arms": arms}


@pytest.fixture
def plan(tmp_path):
    content = {**SMALL, "name": "size"}
    arms = {"half": {"base": "muon", "tune": False, "multiply": {"optimizer.lr": 0.5}}}
    content["studies"] = {
        "toy": SMALL["studies"]["toy"]
        | TWO_ROUNDS
        | {"arms": SMALL["studies"]["toy"]["arms"] | arms}
        | {
            "robustness": {
                "arms": ["muon"],
                "lr_factors": [2.0],
                "embedding_factors": [],
                "fields": [],
                "seeds": 1,
            }
        }
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    return load_plan([tmp_path / "config.yaml"])


def test_a_later_round_adds_the_trials_that_are_new(plan):
    known = Known(plan.studies["toy"], [PROPOSAL])
    assert known.trials["adamw"] == [{"lr": 0.001}, {"lr": 0.01}, {"lr": 0.1}]
    assert len(known.tuning_runs) == 6
    assert known.spaces == PROPOSAL["spaces"]
    assert Known(plan.studies["toy"]).spaces["muon"] == {"lr": [0.001, 0.01]}


def test_a_round_of_an_earlier_config_may_name_an_arm_that_is_gone(plan):
    old = {"spaces": {}, "points": {"gone": [{"lr": 1.0}], "muon": [{"lr": 0.1}]}}
    assert set(Known(plan.studies["toy"], [old]).trials) == {"adamw", "muon"}


def test_runs_follow_from_the_choice(plan):
    known = Known(plan.studies["toy"], [PROPOSAL], chosen(adamw=0.01, muon=0.1))
    assert known.is_chosen
    rates = {(run.arm, run.seed): run.config["optimizer"]["lr"] for run in known.reporting_runs}
    assert rates == {
        (arm, seed): lr
        for arm, lr in {"adamw": 0.01, "muon": 0.1, "half": 0.05}.items()
        for seed in (1, 2)
    }
    ((field, factor, run),) = known.robustness_runs
    assert (field, factor, run.config["optimizer"]["lr"]) == ("lr", 2.0, 0.2)
    assert known.reporting_run("half", "2").seed == 2
    half = plan.studies["toy"].arms["half"]
    assert known.reported_settings(half) == {"lr": 0.05} and known.edges(half) == {"lr": "high"}


@pytest.mark.parametrize("selection", [None, chosen(adamw=0.01), chosen(adamw=0.01, muon=0.02)])
def test_a_choice_of_an_earlier_config_is_none(plan, selection):
    assert not Known(plan.studies["toy"], [PROPOSAL], selection).is_chosen


def write(path, content, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    os.utime(path, (seconds, seconds))


def test_runs_are_found_by_name_in_what_tuning_wrote(plan, tmp_path):
    written = Written(plan, str(tmp_path))
    tuning = tmp_path / "toy" / "tuning"
    study = plan.studies["toy"]
    first = Known(study).tuning_runs[0]
    assert written.config(first.name) == first.config
    later = Known(study, [PROPOSAL], chosen(adamw=0.01, muon=0.1)).later_runs
    with pytest.raises(UserError, match="has a run named muon-lr0.1"):
        written.config(later[-2].name)
    possible = study.reporting_runs("muon", {"lr": 0.001})[0]
    assert written.config(possible.name) == possible.config, "before tuning has chosen"
    write(tuning / "round-2.json", PROPOSAL, 1)
    write(tuning / "selection.json", chosen(adamw=0.01, muon=0.1), 1)
    assert [written.config(run.name) for run in later] == [run.config for run in later]
    write(tuning / "selection.json", chosen(adamw=0.001, muon=0.1), 2)
    again = Known(study, [PROPOSAL], chosen(adamw=0.001, muon=0.1)).reporting_runs[0]
    assert written.config(again.name) == again.config


def test_of_a_shared_run_everything_is_kept_that_either_study_needs(tmp_path):
    toy = SMALL["studies"]["toy"]
    nothing = {"spectra": False, "curvature": None, "quantization": None}
    content = {**SMALL, "studies": {}}
    content["studies"]["ranked"] = toy | {"measure": nothing | {"ranking": "muon"}}
    content["studies"]["measured"] = toy | {"measure": nothing | {"spectra": True}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    plan = load_plan([tmp_path / "config.yaml"])
    kept = {
        name: study.reporting_runs("muon", {"lr": 0.01})[0].config["keep"]
        for name, study in plan.studies.items()
    }
    assert kept["ranked"] == {"snapshots": "end", "updates": True}
    assert kept["measured"] == {"snapshots": "all", "updates": False}
    for name in plan.studies:
        write(tmp_path / name / "tuning/selection.json", chosen(adamw=0.01, muon=0.01), 1)
    run = plan.studies["ranked"].reporting_runs("muon", {"lr": 0.01})[0].name
    both = Written(plan, str(tmp_path)).config(run)["keep"]
    assert both == {"snapshots": "all", "updates": True}
