"""Writes the loss over each setting, one at a time, as a table."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.records import read_jsons
from muonlab.report.sweeps import one_at_a_time_table, sweep_points
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    selection = json.loads(Path(snakemake.input.selection).read_text())
    summaries = read_jsons(snakemake.input.summaries)
    points = sweep_points(selection, job["sweeps"], job["runs"], summaries, job["study"])
    table = one_at_a_time_table(points, job["study"], job["alpha"])
    write_csv(table, snakemake.output.table)
