"""Measures the curvature of one run's loss."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

import json
from pathlib import Path

import torch

from muonlab.io.columns import write_records
from muonlab.io.logs import logged
from muonlab.probes.curvature import COLUMNS, curvature_rows, fixed_loss
from muonlab.probes.finished import FinishedRun
from muonlab.training.build import load_splits

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    settings, data = snakemake.params.job["settings"], Path(snakemake.input.digest).parent
    device = "cuda" if snakemake.resources.gpu else "cpu"
    run = FinishedRun(Path(snakemake.input.summary).parent, data)
    matched = json.loads(Path(snakemake.input.matched).read_text())
    split = load_splits({"train": ["train"]}, run.config, data, run.facts, device)["train"]
    settings = settings | {"examples": min(settings["examples"], len(split))}
    loss = fixed_loss(split, settings["examples"])
    rows = curvature_rows(run, matched, loss, settings, device)
    write_records(snakemake.output.curvature, rows, COLUMNS)
