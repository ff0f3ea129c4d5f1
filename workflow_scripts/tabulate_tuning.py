"""Writes every tuning trial as a table."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.tables import tuning_table, write_csv

with logged(snakemake.log[0]):
    selection = json.loads(Path(snakemake.input.selection).read_text())
    write_csv(tuning_table(selection), snakemake.output.tuning)
