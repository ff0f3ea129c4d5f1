"""Measures how far the last update of an arm's runs is from its polar factor."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

from pathlib import Path

from muonlab.io.columns import write_records
from muonlab.io.logs import logged
from muonlab.probes.direction import COLUMNS, direction_rows
from muonlab.probes.finished import FinishedRun

with logged(snakemake.log[0]):
    data = Path(snakemake.input.digest).parent
    runs = zip(snakemake.params.job["seeds"], snakemake.input.summaries, strict=True)
    rows = (
        {"seed": seed} | row
        for seed, summary in runs
        for row in direction_rows(FinishedRun(Path(summary).parent, data))
    )
    write_records(snakemake.output.direction, rows, {"seed": int} | COLUMNS)
