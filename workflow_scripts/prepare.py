"""Prepares a data set: writes its splits and digest.json."""

from pathlib import Path

from muonlab.io.logs import logged

with logged(snakemake.log[0]) as progress:
    job, folder = snakemake.params.job, Path(snakemake.output.digest).parent
    if job["kind"] == "text":
        from muonlab.data.text import prepare

        prepare(folder.name, job["config"], folder, snakemake.threads, progress)
    else:
        from muonlab.data.vision import prepare

        prepare(folder.name, job["config"], folder)
