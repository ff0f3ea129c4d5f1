"""Draws the loss of a study's arms over the error of the polar factor."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.dose_figure import dose_figure
from muonlab.report.style import save

with logged(snakemake.log[0]):
    job = snakemake.params.job
    points = pd.read_csv(snakemake.input.points)
    responses = pd.read_csv(snakemake.input.responses)
    figure = dose_figure(points, responses, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
