"""Only what is stale is made again, and all that is stale is."""

import shutil
from collections import Counter

import pytest
from checkouts import ACROSS, checkout

TUNING_RUNS, REPORTING_RUNS = 4, 4
ALL_RUNS = TUNING_RUNS + REPORTING_RUNS
AFTER_TUNING = {"select": 1, "tabulate_tuning": 1, "plot_lr_sweep": 1}
AFTER_TUNING |= {"tabulate_best_of_k": 1, "plot_best_of_k": 1, "tabulate_run_index": 1}


def test_an_edit_of_an_optimizer_trains_its_runs_again(finished):
    finished.edit(
        "workflow_scripts/muonlab/optim/muon.py", "grads, 1 - momentum", "grads, 1.0 - momentum"
    )
    outcome = finished.snakemake()
    assert outcome.code == 0, outcome.err
    assert outcome.trained == ALL_RUNS / 2, "the runs with Muon"
    assert outcome.finished["prepare_images"] == 0
    assert outcome.finished["tabulate_runs"] == 1


def test_an_edit_of_the_training_loop_trains_everything_again(finished):
    finished.edit(
        "workflow_scripts/muonlab/training/loop.py", "MOVEMENT_UPDATES = 5", "MOVEMENT_UPDATES = 6"
    )
    assert planned(finished)["train_trial"] == TUNING_RUNS, (
        "after which the reporting runs are known"
    )


def test_an_edit_of_an_optimizer_that_no_arm_has_makes_nothing(finished):
    finished.edit(
        "workflow_scripts/muonlab/optim/soap.py", "frequency: Count = 10", "frequency: Count = 11"
    )
    assert finished.snakemake("-n").nothing_to_do


def test_an_edit_of_a_model_or_of_data_that_no_study_has_makes_nothing(finished):
    room = "workflow_scripts/muonlab"
    finished.edit(
        f"{room}/models/transformer.py", "rope_base: float = 10000.0", "rope_base: float = 9.0"
    )
    finished.edit(f"{room}/training/language.py", "2**26, 2**22", "2**25, 2**22")
    finished.edit(f"{room}/data/windows.py", "rounds: int = 6", "rounds: int = 8")
    assert finished.snakemake("-n").nothing_to_do


def test_an_edit_of_a_figure_draws_the_figures_of_its_module(finished):
    figure = "workflow_scripts/muonlab/report/figures/tuning_grids.py"
    finished.edit(figure, '"learning rate"', '"rate"')
    assert planned(finished) == {"plot_lr_sweep": 1, "all": 1}


ROOM = "workflow_scripts/muonlab"
# Modules that watch runs or serve them, and write into no file of a finished run.
WATCHERS = ["observers/geometry.py", "observers/components.py", "observers/progress.py"]
WATCHERS += ["observers/events.py", "training/run.py", "jobs/warm.py", "jobs/client.py"]
# Modules that measure finished runs, and the rules whose jobs then run again.
MEASURERS = {
    "measure/stability.py": {"tabulate_stability"},
    "measure/singular_values.py": {"measure_spectra", "measure_curvature"},
}


def test_edits_of_what_watches_runs_make_nothing(finished):
    for module in WATCHERS:
        add_a_line(finished.folder / ROOM / module)
    assert finished.snakemake("-n").nothing_to_do


@pytest.mark.parametrize("module", MEASURERS)
def test_an_edit_of_what_measures_runs_trains_nothing(module, finished):
    add_a_line(finished.folder / ROOM / module)
    plan = planned(finished)
    assert not {"train_trial", "train_run"} & set(plan)
    assert MEASURERS[module] <= set(plan)


def add_a_line(file):
    file.write_text(file.read_text() + "\nEDITED = True\n")


def test_a_comment_and_a_docstring_make_nothing(finished):
    finished.edit(
        "workflow_scripts/muonlab/optim/muon.py", "import torch\n", "import torch  # tensors\n"
    )
    finished.edit("workflow_scripts/muonlab/training/loop.py", '"""The training', '"""A training')
    finished.edit("workflow_scripts/train.py", '"""Trains', '"""Really trains')
    assert finished.snakemake("-n").nothing_to_do


def test_swapped_settings_of_one_type_are_trained(finished):
    finished.edit("config.yaml", "width: 15, depth: 3", "width: 3, depth: 15")
    outcome = finished.snakemake("-n")
    assert outcome.jobs["train_trial"] == TUNING_RUNS
    assert outcome.jobs["prepare_images"] == 0
    finished.edit("config.yaml", "width: 3, depth: 15", "width: 15, depth: 3")
    assert finished.snakemake("-n").nothing_to_do


def test_swapped_params_of_one_rule_are_seen(finished):
    """Two equal-typed values of one job's params, under an unchanged name of its output."""
    finished.edit("config.yaml", "validation: 300, test: 360", "validation: 360, test: 300")
    outcome = finished.snakemake("-n")
    assert outcome.jobs["prepare_images"] == 1
    assert outcome.jobs["train_trial"] == TUNING_RUNS


def test_touching_every_file_makes_nothing(finished):
    for path in sorted(finished.folder.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert finished.snakemake("-n").nothing_to_do


def test_a_fresh_clone_beside_kept_results_makes_nothing(finished, tmp_path):
    clone = checkout(tmp_path / "clone")
    for kept in ("results", ".snakemake"):
        shutil.move(finished.folder / kept, clone.folder / kept)
    assert clone.snakemake("-n").nothing_to_do


def test_a_losing_rate_trains_only_itself(finished):
    finished.edit("tiny.yaml", "[0.003, 0.01]", "[0.00001, 0.003, 0.01]")
    outcome = finished.snakemake()
    assert outcome.code == 0, outcome.err
    # One run for each arm; the chosen rates are the highest before and after.
    assert Counter(outcome.of_studies) == Counter(AFTER_TUNING | {"train_trial": 2, "all": 1})


def test_a_new_seed_trains_only_that_seed(finished):
    finished.edit("tiny.yaml", "seeds: [1, 2]", "seeds: [1, 2, 3]")
    plan = planned(finished)
    assert plan["train_run"] == 2
    assert plan["measure_spectra"] == 2
    assert "select" not in plan


def test_a_choice_that_is_no_more_is_made_anew(finished):
    """Neither an arm that tuning has not seen nor a rate that is gone stops the plan."""
    finished.edit("tiny.yaml", "[0.003, 0.01]", "[0.001, 0.02]")
    finished.edit("tiny.yaml", "arms: {muon_hybrid: null}", "arms: {}")
    outcome = finished.snakemake("-n")
    assert outcome.code == 0, outcome.err
    assert outcome.jobs["train_trial"] == 6 and outcome.jobs["select"] == 1


def test_a_removed_run_is_trained_and_what_depends_on_it_made(finished):
    run = next((finished.folder / "results/mini/runs").glob("adamw*/seed-1"))
    shutil.rmtree(run)
    plan = planned(finished)
    assert plan["train_run"] == 1
    assert plan["measure_spectra"] == 1
    assert "select" not in plan


def test_a_removed_figure_is_drawn_alone(finished):
    (finished.folder / "results/mini/fashion/figures/lr_sweep.svg").unlink()
    assert planned(finished) == {"plot_lr_sweep": 1, "all": 1}


def test_a_removed_table_is_written_alone(finished):
    (finished.folder / "results/mini/fashion/tables/tuning.csv").unlink()
    assert planned(finished) == {"tabulate_tuning": 1, "all": 1}


def planned(project) -> dict[str, int]:
    outcome = project.snakemake("-n")
    assert outcome.code == 0, outcome.err
    return {rule: n for rule, n in outcome.jobs.items() if not rule.startswith(ACROSS)}
