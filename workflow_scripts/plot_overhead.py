"""Draws where a step's time goes, and steps and seconds to the common loss."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.overhead import overhead_figure
from muonlab.report.records import read_curves
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    profile = json.loads(Path(snakemake.input.profile).read_text())
    curves = read_curves(job["runs"], snakemake.input.metrics)
    figure = overhead_figure(profile, curves, job["study"], job["alpha"])
    save(figure, snakemake.output.svg, snakemake.output.png)
