"""Draws the loss over each setting, one at a time."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.records import read_jsons
from muonlab.report.style import save
from muonlab.report.sweeps import one_at_a_time_figure, sweep_points

with logged(snakemake.log[0]):
    job = snakemake.params.job
    selection = json.loads(Path(snakemake.input.selection).read_text())
    summaries = read_jsons(snakemake.input.summaries)
    points = sweep_points(selection, job["sweeps"], job["runs"], summaries, job["study"])
    figure = one_at_a_time_figure(points, selection, job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
