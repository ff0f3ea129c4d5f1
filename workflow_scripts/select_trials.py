"""Chooses the settings of each arm of a study from its tuning runs."""

import json
from pathlib import Path

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.tuning.selection import select_trials

with logged(snakemake.log[0]):
    job = snakemake.params.job
    trials = [
        trial | json.loads(Path(summary).read_text())
        for trial, summary in zip(job["trials"], snakemake.input.summaries, strict=True)
    ]
    write_json(snakemake.output.selection, select_trials(trials, job["tuning"], job["spaces"]))
