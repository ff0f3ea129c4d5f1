"""Writes what two components of an optimizer are worth, as a table."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.factorials import factorials_table, final_losses
from muonlab.report.records import read_jsons
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    losses = final_losses(job["runs"], read_jsons(snakemake.input.summaries))
    table = factorials_table(losses, job["factorials"], job["study"], job["alpha"])
    write_csv(table, snakemake.output.table)
