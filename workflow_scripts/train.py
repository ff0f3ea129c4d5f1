"""Trains one run, or continues it from its last checkpoint."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

from muonlab.io.logs import logged
from muonlab.jobs.gpus import lease_gpus

processes = snakemake.resources.get("processes", 1)
with logged(snakemake.log[0]) as progress:
    # Before torch is imported, which then sees the leased GPUs alone.
    lease_gpus(snakemake.resources.gpu, snakemake.resources.get("gpu_slots", 1))
    if processes == 1:
        from muonlab.training.run import train_run as train

        more = {"progress": progress}
    else:
        from muonlab.jobs.launch import train_together as train

        more = {"processes": processes}
    train(
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
        **more,
    )
