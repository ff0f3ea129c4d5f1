"""Draws the loss of a study's arms over two settings at a time."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.ranking_maps import ranking_heatmap
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    ranking = pd.read_csv(snakemake.input.ranking)
    figure = ranking_heatmap(ranking, job["study"], job["settings"])
    save(figure, snakemake.output.svg, snakemake.output.png)
