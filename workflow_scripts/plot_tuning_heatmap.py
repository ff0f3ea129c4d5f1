"""Draws the tuning grids of two settings as maps."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.style import save
from muonlab.report.sweeps import tuning_heatmap

with logged(snakemake.log[0]):
    selection = json.loads(Path(snakemake.input.selection).read_text())
    figure = tuning_heatmap(selection, snakemake.params.job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
