"""Draws every arm of a study on every measure."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.performance import performance_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    ranking = pd.read_csv(snakemake.input.ranking)
    figure = performance_figure(ranking, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
