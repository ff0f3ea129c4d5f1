"""Quantizes one run's weights and evaluates what is left."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

import json
from pathlib import Path

import torch

from muonlab.io.columns import write_records
from muonlab.io.logs import logged
from muonlab.probes.finished import FinishedRun
from muonlab.probes.quantization import COLUMNS, quantization_rows
from muonlab.training.build import load_splits

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    data = Path(snakemake.input.digest).parent
    device = "cuda" if snakemake.resources.gpu else "cpu"
    run = FinishedRun(Path(snakemake.input.summary).parent, data)
    matched = json.loads(Path(snakemake.input.matched).read_text())
    test = load_splits({"report": ["test"]}, run.config, data, run.facts, device)["report"]
    rows = quantization_rows(run, matched, test, snakemake.params.job["settings"], device)
    write_records(snakemake.output.quantized, rows, COLUMNS)
