"""Writes what a study found, in sentences."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.atomic import write_text
from muonlab.io.logs import logged
from muonlab.present.findings import findings

with logged(snakemake.log[0]):
    contrasts = pd.read_csv(snakemake.input.contrasts, keep_default_na=True)
    summary = pd.read_csv(snakemake.input.summary)
    write_text(snakemake.output.findings, findings(contrasts, summary))
