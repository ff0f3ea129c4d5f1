"""Draws the loss about each arm's chosen learning rate."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.sensitivity import sensitivity_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    curves = pd.read_csv(snakemake.input.curves)
    basins = pd.read_csv(snakemake.input.basins)
    figure = sensitivity_figure(curves, basins, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
