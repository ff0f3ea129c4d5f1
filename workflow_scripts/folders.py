"""Fills the folder of one declared function: texts, and copies of files."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.folders import fill
from muonlab.io.logs import logged
from muonlab.report.given import arguments, function_of

with logged(snakemake.log[0]):
    job = snakemake.params.job
    fill(snakemake.output.folder, function_of(job["make"])(**arguments(job, snakemake.input)))
