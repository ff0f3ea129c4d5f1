"""Writes what a study found, in sentences."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.atomic import write_text
from muonlab.io.logs import logged
from muonlab.report.findings import findings

with logged(snakemake.log[0]):
    tables = {name: pd.read_csv(file) for name, file in snakemake.input.items()}
    text = findings(kind=snakemake.params.job["kind"], **tables)
    write_text(snakemake.output.findings, text)
