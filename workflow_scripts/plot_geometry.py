"""Draws the geometry of a study's runs over training."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.geometry import geometry_figure
from muonlab.report.records import read_curves
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    records = read_curves(job["runs"], snakemake.input.records)
    save(geometry_figure(records, job["study"]), snakemake.output.svg, snakemake.output.png)
