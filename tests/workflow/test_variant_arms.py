"""Variants of Muon become arms of a study by config alone."""

import json

import pandas as pd

NAMES = ("normuon", "adamuon", "spectral", "dion", "soap", "sgd")
OVERLAY = f"""\
studies:
  fashion:
    training: {{epochs: 1, eval_every: 10, log_every: 5}}
    optimizers:
      {{{", ".join(f"{name}: {{name: {name}, weight_decay: 0.01}}" for name in NAMES)}}}
    arms:
      muon: null
      muon_hybrid: null
      {"; ".join(f"{name}: {{base: adamw, optimizer: {name}}}" for name in NAMES)}
    tuning: {{seeds: [1001], grid: {{lr: [0.01]}}}}
    seeds: [1]
""".replace("; ", "\n      ")


def test_six_variants_run_as_arms(project):
    (project.folder / "tiny.yaml").write_text(OVERLAY)
    table = "results/mini/fashion/tables/runs.csv"
    outcome = project.snakemake(table)
    assert outcome.code == 0, outcome.err
    runs = pd.read_csv(project.folder / table)
    assert set(runs.arm) == {"adamw", *NAMES}
    assert not runs.diverged.any()
    assert runs.final_loss.nunique() == len(runs), "each arm trains in its own way"
    for run in runs.itertuples():
        record = project.folder / "results/mini/runs" / run.run / "run.json"
        routing = json.loads(record.read_text())["routing"]
        assert {route["optimizer"] for route in routing} == {run.arm}
