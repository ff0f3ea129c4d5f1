"""Takes a run's weights at its first snapshot whose loss is at or under the study's target."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import shutil
from pathlib import Path

from muonlab.io.atomic import replacing, write_json
from muonlab.io.logs import logged
from muonlab.report.records import matched_record

with logged(snakemake.log[0]):
    snapshots = Path(snakemake.input.snapshots)
    target = snakemake.params.job["target"]
    record = matched_record(snakemake.input.metrics, snapshots, snakemake.input.summary, target)
    with replacing(snakemake.output.weights) as temporary:
        shutil.copyfile(snapshots / f"{record['step']:08d}.safetensors", temporary)
    write_json(snakemake.output.record, record)
