"""Draws the effect sizes of a study's comparisons."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.effects import effects_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    table = pd.read_csv(snakemake.input.contrasts)
    figure = effects_figure(table, job["outcomes"], job["study"], job["alpha"])
    save(figure, snakemake.output.svg, snakemake.output.png)
