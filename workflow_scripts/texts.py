"""Writes one declared text."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.atomic import write_text
from muonlab.io.logs import logged
from muonlab.report.given import arguments, function_of

with logged(snakemake.log[0]):
    job = snakemake.params.job
    write_text(snakemake.output[0], function_of(job["make"])(**arguments(job, snakemake.input)))
