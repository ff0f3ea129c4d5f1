"""Profiles the steps of two arms. No other job of the same invocation runs meanwhile."""

import json
from pathlib import Path

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.jobs.gpus import lease_gpus

with logged(snakemake.log[0]):
    lease_gpus(snakemake.resources.gpu, snakemake.resources.get("gpu_slots", 1), alone=True)
    import torch  # sees the leased GPU alone

    from muonlab.probes.overhead import profile_overhead

    job, files = snakemake.params.job, snakemake.input
    runs = [json.loads(Path(file).read_text()) for file in files.runs]
    # All cores are reserved, but the steps use only as many threads as the runs were trained with.
    torch.set_num_threads(min(snakemake.threads, *(run["provenance"]["threads"] for run in runs)))
    arms = zip(job["settings"]["arms"], runs, strict=True)
    record = profile_overhead(
        configs={arm: run["config"] for arm, run in arms},
        data=Path(files.digest).parent,
        facts=json.loads(Path(files.digest).read_text()),
        settings=job["settings"],
        device="cuda" if snakemake.resources.gpu else "cpu",
        trace=Path(snakemake.output.trace),
    )
    write_json(snakemake.output.profile, record)
