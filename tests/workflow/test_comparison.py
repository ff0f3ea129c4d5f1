"""The comparison study, cut down: factors, an arm on other data, what finished models are read for,
and the estimate of what it costs."""

import json

import pandas as pd
import pytest

CUT = """\
data:
  prose: {source: stdlib, part: docstrings, vocab_size: 300, max_bytes: 100000}
  python: {vocab_size: 300, max_bytes: 300000, validation: 0.3, test: 0.3}
studies:
  fashion: null
  moe: null
  ablation: null
  dynamics: null
  comparison:
    model: {context: 16, width: 16, layers: 1, feedforward: 16}
    training: {steps: 6, eval_every: 3, batch_size: 4, warmup_steps: 2, components_every: 3}
    arms:
      adamw: {grid: {lr: [0.01], training.warmup_steps: [2]}}
      muon: {box: null, grid: {lr: [0.01], training.warmup_steps: [2]}}
      muon_value_output: null
      muon_query_key: null
      muon_all: null
      adamw_no_decay: null
      muon_no_decay: null
      adamw_prose: {base: adamw, set: {data: prose}, tune: false}
      muon_prose: {base: muon, set: {data: prose}, tune: false}
    tuning: {seeds: [1001], method: grid, grid: {lr: [0.01]}, extensions: 0}
    seeds: [1, 2]
    robustness: null
    factors:
      size: {seeds: 2, lr_factors: [1.0, 2.0], levels: {large: null}}
      batch: null
      length: null
      context: null
      experts: null
      top_k: null
      data: {levels: {docstrings: {set: {data: prose}}, little: null}}
    measure:
      contrasts: {families: {components: null, weight_decay: null}}
      multiple_choice: {tasks: {made_up: {format: hellaswag, files: [items.jsonl]}}, resamples: 100}
      samples: {prompts: ["def f("], tokens: 4}
      attention_patterns: {examples: 8, map_size: 8}
"""
ITEM = {"activity_label": "Code", "ctx": "def f(x): return", "endings": ["x", "None"], "label": 0}


@pytest.mark.slow
def test_the_comparison_runs_to_the_end_and_never_compares_across_data(project):
    (project.folder / "tiny.yaml").write_text(CUT)
    (project.folder / "items.jsonl").write_text("\n".join([json.dumps(ITEM)] * 5))
    planned = project.snakemake("-n", "plan")
    assert planned.code == 0, planned.err
    assert "Nothing was run." in planned.out + planned.err
    assert not (project.folder / "results").exists()

    outcome = project.snakemake("comparison")
    assert outcome.code == 0, outcome.err
    folder = project.folder / "results/mini/comparison"
    contrasts = pd.read_csv(folder / "tables/contrasts.csv")
    pairs = set(zip(contrasts.arm_a, contrasts.arm_b, strict=True))
    assert {("muon", "adamw"), ("muon_attention", "muon")} <= pairs
    on_prose = {"adamw_prose", "muon_prose"}
    assert not [pair for pair in pairs if len(on_prose & set(pair)) == 1]
    summary = pd.read_csv(folder / "tables/summary.csv").set_index("arm").data
    assert set(summary["muon_prose"]) == {"prose"} and set(summary["muon"]) == {"python"}
    gains = pd.read_csv(folder / "tables/gains.csv")
    assert set(gains.factor) == {"size", "data"}
    assert set(gains[gains.level == "docstrings"].data) == {"prose"}
    assert len(gains[gains.factor == "size"]) == 2 * 2  # two levels, as tuned and bracketed
    accuracy = pd.read_csv(folder / "tables/benchmark_accuracy.csv")
    assert (accuracy["items"] == 5).all() and accuracy["mean"].between(0, 1).all()
    assert "`def f(`" in (folder / "written_samples.md").read_text()
    assert (folder / "where_it_gains.md").exists()
    for name in ("gains", "attention", "benchmarks", "generalisation", "run_costs"):
        assert (folder / f"figures/{name}.png").stat().st_size > 5000
    assert project.snakemake("comparison").nothing_to_do

    # A replaced file of items is measured again, and nothing is trained again.
    (project.folder / "items.jsonl").write_text("\n".join([json.dumps(ITEM)] * 4))
    again = project.snakemake("comparison")
    assert again.code == 0 and again.trained == 0 and again.finished["measure_multiple_choice"] > 0
