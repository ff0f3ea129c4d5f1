"""Search through the workflow: rounds that follow from trials, and trials that are added."""

import json

ARMS = "arms: {muon: null, muon_hybrid: null}"
TINY = """\
studies:
  moe: null
  ablation: null
  dynamics: null
  comparison: null
  fashion:
    training: {epochs: 1, eval_every: 18, geometry_every: null}
    %s
    tuning: {seeds: [1001], %s}
    seeds: [1]
    measure: {spectra: false, curvature: null, quantization: null}
"""


def overlay(project, tuning, arms=ARMS):
    (project.folder / "tiny.yaml").write_text(TINY % (arms, tuning))


def trials(project):
    text = (project.folder / "results/mini/fashion/tuning/selection.json").read_text()
    return [trial["settings"]["lr"] for trial in json.loads(text)["trials"]]


def test_a_grid_is_widened_on_both_sides_of_the_comparison(project):
    """Rates this small are best at the grid's high end: both arms get the next one, once."""
    arms = "arms: {muon_hybrid: null}"
    overlay(project, "grid: {lr: [0.000001, 0.00001]}, extensions: 1", arms)
    outcome = project.snakemake("tune")
    assert outcome.code == 0, outcome.err
    assert outcome.trained == 6 and outcome.finished["propose"] == 1
    assert sorted(trials(project)) == [1e-6, 1e-6, 1e-5, 1e-5, 1e-4, 1e-4]
    assert project.snakemake("tune").nothing_to_do
    # Without the wider round the choice is another, and no training is lost or repeated.
    overlay(project, "grid: {lr: [0.000001, 0.00001]}", arms)
    again = project.snakemake("tune")
    assert again.trained == 0 and again.finished["select"] == 1


def test_adding_a_sobol_trial_trains_only_it(project):
    box = "method: sobol, box: {lr: {low: 0.0005, high: 0.05, log: true}}, trials: %d"
    overlay(project, box % 3)
    outcome = project.snakemake("tune")
    assert outcome.code == 0, outcome.err
    first = trials(project)
    assert outcome.trained == len(first) == 3
    overlay(project, box % 4)
    again = project.snakemake("tune")
    assert again.trained == 1
    assert trials(project)[:3] == first and len(trials(project)) == 4


def test_what_was_made_from_an_earlier_choice_waits_for_the_new_one(project):
    """Jobs that follow from the last of several rounds must not go by a choice that is still on
    disk but is about to be made again."""
    zoom = "method: zoom, trials: 2, box: {lr: {low: %f, high: %f, log: true}}"
    overlay(project, zoom % (0.001, 0.01))
    assert project.snakemake("fashion").code == 0
    overlay(project, zoom % (0.00001, 0.0001))
    again = project.snakemake("fashion")
    assert again.code == 0, again.err
    assert again.finished["train_run"] == 1 and again.finished["plot_study_summary"] == 1
    assert project.snakemake("fashion").nothing_to_do
    # A file of a round that was removed is made again, and nothing is trained.
    (project.folder / "results/mini/fashion/tuning/round-2.json").unlink()
    mended = project.snakemake("fashion")
    assert mended.code == 0, mended.err
    assert mended.trained == 0 and mended.finished["propose"] >= 1
