"""Takes a run's weights at its first snapshot whose loss is at or under the study's target."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import json
import shutil
from pathlib import Path

from muonlab.io.atomic import replacing, write_json
from muonlab.io.logs import logged
from muonlab.present.records import snapshot_losses
from muonlab.statistics.tuning import first_at_or_under

with logged(snakemake.log[0]):
    target = snakemake.params.job["target"]
    snapshots = Path(snakemake.input.snapshots)
    summary = json.loads(Path(snakemake.input.summary).read_text())
    losses = snapshot_losses(snakemake.input.metrics, snapshots, summary["evaluated_on"])
    step, loss, reached = first_at_or_under(losses, target)
    with replacing(snakemake.output.weights) as temporary:
        shutil.copyfile(snapshots / f"{step:08d}.safetensors", temporary)
    record = {"step": step, "loss": loss if loss == loss else None, "reached": reached}
    write_json(snakemake.output.record, record | {"target_loss": target})
