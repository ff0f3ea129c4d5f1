"""Writes the spectra of a study's runs as means over seeds."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.measured import spectra_table
from muonlab.report.records import read_curves
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    records = read_curves(job["runs"], snakemake.input.records)
    write_csv(spectra_table(records, job["study"]), snakemake.output.table)
