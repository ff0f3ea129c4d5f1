"""Measures the spectra of one run's matrices."""

from muonlab.jobs.warm import TORCH, hand_over

hand_over(snakemake, TORCH)

import json
from pathlib import Path

from muonlab.io.columns import write_records
from muonlab.io.logs import logged
from muonlab.probes.finished import FinishedRun
from muonlab.probes.spectra import COLUMNS, spectra_rows

with logged(snakemake.log[0]):
    run = FinishedRun(Path(snakemake.input.summary).parent, Path(snakemake.input.digest).parent)
    matched = json.loads(Path(snakemake.input.matched).read_text())
    write_records(snakemake.output.spectra, spectra_rows(run, matched), COLUMNS)
