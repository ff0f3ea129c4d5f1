"""Writes what a smaller tuning budget is expected to find."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.robustness import budget_table
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    selection = json.loads(Path(snakemake.input.selection).read_text())
    write_csv(budget_table(selection, job["study"], job["alpha"]), snakemake.output.best_of_k)
