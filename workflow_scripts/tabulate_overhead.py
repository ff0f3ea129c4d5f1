"""Writes where a step's time goes, what each shape costs, and whether it pays."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.overhead import overhead_table, shapes_table
from muonlab.report.records import read_curves, read_provenances
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    profile = json.loads(Path(snakemake.input.profile).read_text())
    curves = read_curves(job["runs"], snakemake.input.metrics)
    provenances = read_provenances(job["runs"], snakemake.input.provenances)
    table = overhead_table(profile, provenances, curves, job["study"], job["alpha"])
    write_csv(table, snakemake.output.overhead)
    write_csv(shapes_table(profile), snakemake.output.shapes)
