"""Profiles the steps of two arms, alone on the machine as far as the workflow can see to it."""

import json
from pathlib import Path

import torch

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.probes.overhead import profile_overhead

with logged(snakemake.log[0]):
    job, files = snakemake.params.job, snakemake.input
    configs = [json.loads(Path(file).read_text()) for file in files.configs]
    trained = [json.loads(Path(file).read_text()) for file in files.provenances]
    # All cores are reserved; the steps run on as many as the runs were trained with.
    torch.set_num_threads(min(snakemake.threads, *(record["threads"] for record in trained)))
    record = profile_overhead(
        configs=dict(zip(job["settings"]["arms"], configs, strict=True)),
        data=Path(files.digest).parent,
        facts=json.loads(Path(files.digest).read_text()),
        settings=job["settings"],
        device="cuda" if snakemake.resources.gpu else "cpu",
        trace=Path(snakemake.output.trace),
    )
    write_json(snakemake.output.profile, record)
