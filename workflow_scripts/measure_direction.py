"""Measures how far one run's last update is from its polar factor."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

from muonlab.io.columns import write_records
from muonlab.io.logs import logged
from muonlab.training.direction import COLUMNS, direction_rows
from muonlab.training.finished import FinishedRun

with logged(snakemake.log[0]):
    run = FinishedRun(Path(snakemake.input.summary).parent, Path(snakemake.input.digest).parent)
    write_records(snakemake.output.direction, direction_rows(run), COLUMNS)
