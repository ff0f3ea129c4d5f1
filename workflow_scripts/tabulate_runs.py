"""Writes one row a run, and the summary over seeds."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.records import read_jsons
from muonlab.report.tables import runs_table, summary_table, write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    runs = runs_table(
        job["runs"],
        summaries=read_jsons(snakemake.input.summaries),
        provenances=read_jsons(snakemake.input.provenances),
        matched=read_jsons(snakemake.input.matched),
    )
    write_csv(runs, snakemake.output.runs)
    write_csv(summary_table(runs, job["study"]), snakemake.output.summary)
