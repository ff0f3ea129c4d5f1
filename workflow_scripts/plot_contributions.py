"""Draws what two components of an optimizer are worth."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.factorials import contributions_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    table = pd.read_csv(snakemake.input.table)
    figure = contributions_figure(table, job["factorials"], job["study"], job["alpha"])
    save(figure, snakemake.output.svg, snakemake.output.png)
