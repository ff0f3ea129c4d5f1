"""Draws the training curves of all arms of a study."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.performance import ranking_curves
from muonlab.report.records import read_curves
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    ranking = pd.read_csv(snakemake.input.ranking)
    curves = read_curves(job["runs"], snakemake.input.metrics)
    figure = ranking_curves(curves, ranking, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
