"""Writes the tables of one declared function."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.given import arguments, function_of
from muonlab.report.records import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    made = function_of(job["make"])(**arguments(job, snakemake.input))
    for name, path in snakemake.output.items():
        write_csv(made[name] if isinstance(made, dict) else made, path)
