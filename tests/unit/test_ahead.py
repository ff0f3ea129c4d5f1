"""What follows after tuning: as many jobs as there then are, under titles that tell runs apart."""

from collections import Counter
from pathlib import Path

import pytest

from muonlab.plan.ahead import jobs_ahead
from muonlab.plan.estimate import as_if_chosen
from muonlab.plan.known import Known
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import load_plan
from muonlab.plan.titles import Titles, titles
from muonlab.plan.written import Written

ROOT = Path(__file__).parents[2]
PLAN = load_plan([ROOT / "config.yaml"])
OUTPUTS = Outputs(PLAN)


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Written(PLAN, OUTPUTS.root)


def ahead(written, *targets):
    return jobs_ahead(PLAN, OUTPUTS, written, targets)


def test_everything_after_tuning_follows(written):
    runs = {
        run.name: run.phase
        for study in PLAN.studies.values()
        for run in as_if_chosen(Known(study)).later_runs
    }
    phases = Counter(runs.values())
    found = ahead(written)
    assert found["train_run"] == phases["reporting"]
    later = sum(
        arm.budget * len(study.tuning["seeds"]) - len(arm.trials) * len(study.tuning["seeds"])
        for study in PLAN.studies.values()
        for arm in study.tuned_arms.values()
        if study.tuning["method"] != "grid"
    )
    assert found["train_trial"] == phases["tuning"] + later
    assert found["measure_"] > 0


def test_a_studys_target_promises_its_own_jobs_alone(written):
    parts = [ahead(written, name) for name in PLAN.studies]
    assert all(sum(part.values()) for part in parts)
    assert sum(parts[0].values()) < sum(ahead(written).values())
    assert ahead(written, "all") == ahead(written)
    both = ahead(written, "fashion", "dynamics")
    assert both == ahead(written, "fashion") + ahead(written, "dynamics")


def test_tuning_alone_promises_its_later_rounds_alone(written):
    assert set(+ahead(written, "tune")) == {"train_trial"}
    assert not ahead(written, "data")
    assert not ahead(written, "results/mini/data/digits/digest.json")
    assert not ahead(written, "results/mini/data/digits/digest.json", "fashion")


@pytest.mark.parametrize("study", PLAN.studies)
def test_runs_of_a_study_have_titles_that_tell_them_apart(study):
    known = as_if_chosen(Known(PLAN.studies[study]))
    own = {run.name for run in [*known.tuning_runs, *known.later_runs]}
    found = dict(titles(known))
    assert set(found) == own
    double = [title for title, count in Counter(found.values()).items() if count > 1]
    assert not double


def test_a_title_names_study_arm_settings_and_seed(written):
    run = Known(PLAN.studies["moe"]).tuning_runs[0]
    title = Titles(written).of(run.name)
    study, arm, settings, seed = title.split(" · ")
    assert (study, arm, seed) == ("moe", "AdamW", "tuning seed 1001")
    assert f"lr {run.settings['lr']:.3g}" in settings
    assert Titles(written).of("no such run") is None
