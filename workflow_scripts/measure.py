"""Measures one finished run, or all finished runs of one arm."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

from muonlab.io.logs import logged
from muonlab.jobs.gpus import lease_gpus

with logged(snakemake.log[0]):
    lease_gpus(snakemake.resources.gpu, snakemake.resources.get("gpu_slots", 1))
    import torch  # sees the leased GPU alone

    from muonlab.probes.job import measure

    torch.set_num_threads(snakemake.threads)
    measure(
        job=snakemake.params.job,
        runs=[Path(summary).parent for summary in snakemake.input.runs],
        data=Path(snakemake.input.data).parent,
        device="cuda" if snakemake.resources.gpu else "cpu",
        target=Path(snakemake.output[0]),
    )
