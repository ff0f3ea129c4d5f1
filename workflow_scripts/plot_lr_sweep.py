"""Draws each arm's loss over the learning rates of its tuning grid."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
from pathlib import Path

from muonlab.io.logs import logged
from muonlab.report.curves import lr_sweep
from muonlab.report.style import save

with logged(snakemake.log[0]):
    selection = json.loads(Path(snakemake.input.selection).read_text())
    figure = lr_sweep(selection, snakemake.params.job["study"])
    save(figure, snakemake.output.svg, snakemake.output.png)
