"""Tuning and reporting kept apart: their seeds, their runs, their data."""

from pathlib import Path

import pytest
import yaml

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.runs import load_plan
from muonlab.training import build

ROOT = Path(__file__).parents[2]
TOY = {
    "data": "digits",
    "optimizers": {"adamw": {"name": "adamw"}, "muon": {"name": "muon", "weight_decay": 0.01}},
    "arms": {"adamw": {"optimizer": "adamw"}, "muon": {"base": "adamw", "optimizer": "muon"}},
    "tuning": {"seeds": [7, 8], "grid": {"lr": [0.001, 0.01]}},
    "seeds": [1, 2, 3],
}


def plan(tmp_path, **sections):
    file = tmp_path / "one.yaml"
    data = {"digits": {"source": "digits"}}
    file.write_text(yaml.safe_dump({"data": data, "studies": {"toy": TOY | sections}}))
    return load_plan([file]).studies["toy"]


def tuning_runs(study):
    return study.tuning_runs(Known(study).trials)


def test_tuning_runs_have_the_tuning_seeds_and_reporting_runs_the_others(tmp_path):
    study = plan(tmp_path)
    for arm in study.arms:
        tuning = [run for run in tuning_runs(study) if run.arm == arm]
        assert [(run.settings["lr"], run.seed) for run in tuning] == [
            *((0.001, seed) for seed in (7, 8)),
            *((0.01, seed) for seed in (7, 8)),
        ]
        reporting = study.reporting_runs(arm, {"lr": 0.01})
        assert [run.seed for run in reporting] == [1, 2, 3]
        for phase, runs in (("tuning", tuning), ("reporting", reporting)):
            for run in runs:
                assert (run.config["seed"], run.config["phase"]) == (run.seed, phase)
                assert run.phase == phase and run.config["optimizer"]["name"] == arm
        assert not {run.name for run in tuning} & {run.name for run in reporting}


@pytest.mark.parametrize("tuned", [[1], [7, 3], [1, 2, 3]])
def test_a_seed_that_tuning_saw_is_not_reported(tmp_path, tuned):
    shared = ", ".join(str(seed) for seed in sorted(tuned) if seed != 7)
    with pytest.raises(UserError, match=f"must be disjoint, and both have {shared}$"):
        plan(tmp_path, tuning=TOY["tuning"] | {"seeds": tuned})


def test_a_seed_stands_once_in_each_list(tmp_path):
    with pytest.raises(UserError, match="tuning.seeds must not name a seed twice"):
        plan(tmp_path, tuning=TOY["tuning"] | {"seeds": [7, 7]})
    with pytest.raises(UserError, match="seeds must not name a seed twice"):
        plan(tmp_path, seeds=[1, 1])


def test_the_seeds_of_a_published_protocol_are_checked_too(tmp_path):
    published = {"seeds": [7]}
    with pytest.raises(UserError, match="both have 7"):
        plan(tmp_path, protocols=["published"], published=published)


@pytest.mark.parametrize(("relative", "seeds"), [(0.1, 1), (0.3, 2)])
def test_robustness_changes_by_what_it_says_on_as_many_seeds_as_it_says(tmp_path, relative, seeds):
    section = {"arms": ["muon"], "lr_factors": [3.0], "embedding_factors": [0.5]}
    section |= {"fields": ["weight_decay"]}
    study = plan(tmp_path, robustness=section | {"relative": relative, "seeds": seeds})
    rows = study.robustness_runs("muon", {"lr": 0.01})
    expected = [("lr", 3.0), ("embedding_ratio", 0.5)]
    expected += [("weight_decay", 1 - relative), ("weight_decay", 1 + relative)]
    assert [(field, factor, run.seed) for field, factor, run in rows] == [
        (*e, seed) for e in expected for seed in (1, 2)[:seeds]
    ]
    for _, factor, run in rows[seeds : 2 * seeds]:
        assert run.config["optimizer"]["embedding_ratio"] == factor
    for _, factor, run in rows[2 * seeds :]:
        assert run.config["optimizer"]["weight_decay"] == pytest.approx(0.01 * factor)


def test_what_only_reporting_runs_are_watched_by_makes_no_tuning_run_another(tmp_path):
    one, two = (plan(tmp_path, training={"geometry_every": every}) for every in (10, 20))
    names = [{run.name for run in tuning_runs(study)} for study in (one, two)]
    assert names[0] == names[1]


def test_evaluation_is_on_the_validation_split_and_only_reporting_runs_load_the_test_split(
    monkeypatch,
):
    monkeypatch.setattr(build, "load_splits", lambda wanted, *_: wanted)
    study = load_plan([ROOT / "config.yaml"]).studies["fashion"]
    runs = [tuning_runs(study)[0], study.reporting_runs("muon", {"lr": 0.01})[0]]
    asked = [build.build_splits(run.config, Path(), {}, "cpu") for run in runs]
    tuning = {"train": ["train"], "validation": ["validation"]}
    assert asked == [tuning, tuning | {"report": ["test"]}]
