"""Draws one declared figure."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.given import arguments, function_of
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    drawn = function_of(job["make"])(**arguments(job, snakemake.input))
    save(drawn, snakemake.output.svg, snakemake.output.png, snakemake.output.pdf)
