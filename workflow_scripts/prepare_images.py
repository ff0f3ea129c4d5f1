"""Prepares one image data set."""

from pathlib import Path

from muonlab.data.vision import prepare
from muonlab.io.logs import logged

with logged(snakemake.log[0]):
    prepare(
        name=snakemake.wildcards.images,
        config=snakemake.params.job["config"],
        folder=Path(snakemake.output.digest).parent,
    )
