"""Draws what each component holds, receives and does over training."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.components import components_figure
from muonlab.report.records import read_curves
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    records = read_curves(job["runs"], snakemake.input.records)
    save(components_figure(records, job["study"]), snakemake.output.svg, snakemake.output.png)
