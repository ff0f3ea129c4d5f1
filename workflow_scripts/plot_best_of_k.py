"""Draws what a smaller tuning budget is expected to find."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.sensitivity import budget_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    table = pd.read_csv(snakemake.input.table)
    figure = budget_figure(table, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
