"""Trains one run, or continues it from its last checkpoint."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

from muonlab.io.logs import logged
from muonlab.training.run import train_run

with logged(snakemake.log[0]) as progress:
    train_run(
        config=snakemake.params.job["config"],
        code=snakemake.params.job["code"],
        # A resource, not a param: editing code that only observes runs retrains none of them.
        observer_code=snakemake.resources.observers,
        data=Path(snakemake.input.digest).parent,
        folder=Path(snakemake.output.record).parent,
        device="cuda" if snakemake.resources.gpu else "cpu",
        threads=snakemake.threads,
        checkpoint_seconds=snakemake.resources.checkpoint_seconds,
        log_to=snakemake.resources.get("log_to", "").split(),
        progress=progress,
    )
