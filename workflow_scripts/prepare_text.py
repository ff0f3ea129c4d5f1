"""Prepares one text data set."""

from pathlib import Path

from muonlab.data.text import prepare
from muonlab.io.logs import logged

with logged(snakemake.log[0]) as progress:
    prepare(
        name=snakemake.wildcards.corpus,
        config=snakemake.params.job["config"],
        folder=Path(snakemake.output.digest).parent,
        threads=snakemake.threads,
        progress=progress,
    )
