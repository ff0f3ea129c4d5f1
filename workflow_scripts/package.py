"""Packs code, configuration, environment, records and results into one archive."""

from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.packing import pack

with logged(snakemake.log[0]):
    job = snakemake.params.job
    pack(
        target=Path(snakemake.output.archive),
        project=Path(job["project"]),
        configs=[Path(file) for file in job["configs"]],
        results=[Path(file) for file in snakemake.input.results],
        jobs=job["jobs"],
        checklist=Path(snakemake.input.checklist).read_text(encoding="utf-8"),
    )
