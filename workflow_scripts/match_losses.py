"""Finds the first snapshot of every run of a study whose loss is at or under its target."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from pathlib import Path

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.report.records import matched_record

with logged(snakemake.log[0]):
    target = snakemake.params.job["target"]
    given = snakemake.input
    runs = zip(given.metrics, given.snapshots, given.summaries, strict=True)
    records = [matched_record(m, Path(snapshots), s, target) for m, snapshots, s in runs]
    write_json(snakemake.output.records, records)
