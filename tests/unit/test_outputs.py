"""What a study makes and from what, without Snakemake: files, plain values, captions."""

import json
from pathlib import Path

import pytest

from muonlab.io.errors import UserError
from muonlab.plan.captions import edge_warnings
from muonlab.plan.known import Known
from muonlab.plan.needs import Needs
from muonlab.plan.outputs import Outputs
from muonlab.plan.registry import read_registry
from muonlab.plan.runs import load_plan

ROOT = Path(__file__).parents[2]
PLAN = load_plan([ROOT / "config.yaml"])
OUTPUTS = Outputs(PLAN)
REGISTRY = read_registry()
REPORTED = [*REGISTRY.tables.values(), *REGISTRY.figures.values(), *REGISTRY.texts.values()]


def known(study, whole=PLAN):
    """The default study, as if tuning had chosen the first trial of each arm."""
    plan = whole.studies[study]
    arms = {
        name: {"settings": arm.trials[0].settings, "edges": {"lr": "low"}}
        for name, arm in plan.tuned_arms.items()
    }
    return Known(plan, [], {"arms": arms})


def names(files):
    return {Path(file).stem for file in files}


def test_a_study_has_an_output_where_it_has_what_the_output_needs():
    figures = {study: names(OUTPUTS.figures(study)) for study in PLAN.studies}
    everywhere = set.intersection(*figures.values())
    assert everywhere == {
        *("learning_curves", "tuning_trials", "effects", "best_of_k", "convergence"),
        *("generalisation", "run_costs"),
        *("loss_against_time", "study_summary"),
    }
    assert figures["fashion"] - everywhere == {
        *("spectra", "sharpness", "quantization", "quantization_error", "geometry"),
        *("geometry_over_loss", "spectra_over_loss"),
        *("curvature_over_loss", "quantization_over_loss"),
    }
    assert figures["moe"] - everywhere == {
        *("spectra", "spectra_over_loss", "contributions", "one_at_a_time", "sensitivity_map"),
        *("components", "experts", "overhead", "speed_up", "waterfall"),
    }
    assert figures["ablation"] - everywhere == {
        *("one_at_a_time", "performance", "ranking_curves", "ranking_heatmap"),
        *("dose_response", "lr_sensitivity", "waterfall"),
    }
    assert figures["comparison"] - everywhere == {
        *("one_at_a_time", "lr_sensitivity", "components", "experts", "gains", "attention"),
        "component_gains",
    }
    assert figures["dynamics"] - everywhere == {
        *("spectra", "spectra_over_loss", "geometry", "geometry_over_loss", "components"),
        *("spectral_norms", "update_alignment", "orthogonality_error", "spectral_gap"),
        *("update_rank", "alignment_rank", "norm_depth", "entropy_depth", "entropy_map"),
        *("initial_final_spectra", "gradient_flow", "gradient_distribution", "layer_norms"),
        *("activations", "descent_over_loss"),
    }
    texts = {study: names(OUTPUTS.texts(study)) for study in PLAN.studies}
    assert texts == {
        "fashion": {"findings"},
        "moe": {"findings"},
        "ablation": {"findings", "insights"},
        "dynamics": {"findings"},
        "comparison": {"findings", "where_it_gains", "written_samples"},
    }


@pytest.mark.parametrize("study", PLAN.studies)
@pytest.mark.parametrize("made", REPORTED, ids=lambda made: f"{made.kind}-{made.name}")
def test_a_jobs_param_is_plain_and_the_same_each_time(study, made):
    if study not in OUTPUTS.having(made):
        return
    now = known(study)
    job = OUTPUTS.job(made, now)
    assert json.loads(json.dumps(job)) == job, "plain values alone are compared by Snakemake"
    assert repr(job) == repr(OUTPUTS.job(made, known(study)))
    given = OUTPUTS.given(made, now)
    files = [
        file
        for several in (given.files, given.ancient)
        for each in several.values()
        for file in each
    ]
    assert all(file.startswith("results/mini/") for file in files)
    told = {name for name, output in job["captions"].items() if "Warning" in output}
    assert told == set(job["captions"]), "every caption warns of a choice on an edge"


def test_a_job_gets_exactly_what_its_function_names():
    made = REGISTRY.figures["lr_sensitivity"]
    given = OUTPUTS.given(made, known("ablation"))
    assert set(given.values) == {"study"}
    tables = {name: files for name, files in given.files.items()}
    assert tables == {
        name: [f"results/mini/ablation/tables/{name}.csv"] for name in ("lr_sensitivity", "basins")
    }


def test_records_of_runs_are_the_folder_that_the_workflow_knows():
    given = OUTPUTS.given(REGISTRY.figures["geometry"], known("fashion"))
    runs = [run.name for run in known("fashion").reporting_runs]
    assert given.ancient == {
        "geometry_records": [f"results/mini/runs/{run}/records" for run in runs]
    }
    assert given.files["geometry_records_state"] == [
        f"results/mini/runs/{run}/run.json" for run in runs
    ]


def test_optional_needs_are_given_where_the_study_has_them():
    findings = REGISTRY.texts["findings"]
    needs = {study: OUTPUTS.needs.of(findings, PLAN.studies[study]) for study in PLAN.studies}
    assert "factorials_table" in needs["moe"] and "factorials_table" not in needs["fashion"]


def test_measurements_are_of_runs_or_of_arms():
    fashion, ablation = known("fashion"), known("ablation")
    spectra = OUTPUTS.measurements(fashion, ["spectra"])
    assert len(spectra) == len(PLAN.studies["fashion"].arms)
    assert "results/mini/fashion/spectra/muon.parquet" in spectra
    curvature = OUTPUTS.measurements(fashion, ["curvature"])
    assert len(curvature) == len(PLAN.studies["fashion"].seeds) * len(spectra)
    assert "results/mini/fashion/curvature/muon/seed-1.parquet" in curvature
    assert len(OUTPUTS.measurements(ablation)) == len(PLAN.studies["ablation"].arms)
    assert "results/mini/moe/overhead/profile.json" in OUTPUTS.measurements(known("moe"))


def test_an_added_arm_measures_nothing_again(tmp_path):
    """What a run's measurement is made of, and with which settings, no other run decides."""
    mine = tmp_path / "mine.yaml"
    extra = "sgd_like: {label: other, base: muon, set: {optimizer.nesterov: false}}"
    mine.write_text(f"studies: {{fashion: {{arms: {{{extra}}}}}}}")
    plan = load_plan([ROOT / "config.yaml", mine])
    more = Outputs(plan)
    before, after = known("fashion"), known("fashion", plan)
    assert set(after.study.arms) - set(before.study.arms) == {"sgd_like"}
    runs = [run for run in after.reporting_runs if run.arm != "sgd_like"]
    assert [(r.name, r.config) for r in runs] == [(r.name, r.config) for r in before.reporting_runs]
    measured = [one for one in REGISTRY.measurements.values() if OUTPUTS.has(one, before.study)]
    assert len(measured) == 3
    for made in measured:
        assert OUTPUTS.measure_job(made, before) == more.measure_job(made, after)


def test_settings_of_snapshots_concern_reporting_runs_alone(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {fashion: {training: {rung_ratio: 1.5, snapshot_every: 40}}}")
    one, other = known("fashion"), known("fashion", load_plan([ROOT / "config.yaml", mine]))
    names = [[run.name for run in each.tuning_runs] for each in (one, other)]
    assert names[0] == names[1]
    assert not {run.name for run in one.reporting_runs} & {r.name for r in other.reporting_runs}


def test_a_name_that_nothing_has_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match="'metrix' is not something .*metrics.*spectra_records"):
        Needs("results/x", REGISTRY).has("metrix", PLAN.studies["fashion"])


def test_an_edge_that_an_arm_does_not_rest_on_is_no_warning():
    tuned = PLAN.studies["ablation"].tuned_arms
    assert len(edge_warnings(known("ablation"))) == len(tuned), "followers have no search space"
    assert len(tuned) < len(PLAN.studies["ablation"].arms)


def test_a_measurement_that_nothing_declares_is_refused(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("studies: {fashion: {measure: {also: [nroms]}}}")
    plan = load_plan([ROOT / "config.yaml", mine])
    says = r"mine.yaml: studies.fashion.measure.also: 'nroms' is not a measurement .*spectra"
    with pytest.raises(UserError, match=says):
        Outputs(plan)
