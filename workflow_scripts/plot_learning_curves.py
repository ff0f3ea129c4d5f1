"""Draws the learning curves of a study."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.curves import learning_curves
from muonlab.report.records import read_curves
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    splits = json.loads(Path(snakemake.input.digest).read_text())["splits"]
    curves = read_curves(job["runs"], snakemake.input.metrics)
    save(learning_curves(curves, job["study"], splits), snakemake.output.svg, snakemake.output.png)
