"""Measures one finished run, or all finished runs of one arm."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

import torch

from muonlab.io.logs import logged
from muonlab.probes.job import measure

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    measure(
        job=snakemake.params.job,
        runs=[Path(summary).parent for summary in snakemake.input.runs],
        data=Path(snakemake.input.data).parent,
        device="cuda" if snakemake.resources.gpu else "cpu",
        target=Path(snakemake.output[0]),
    )
