"""One process of a team that trains a run; torchrun starts it with the file of its job.

The job holds the arguments of `training.run.train_run` as plain values.
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from muonlab.jobs.launch import PATHS
from muonlab.training.run import train_run
from muonlab.training.team import join


def main(job: Path) -> None:
    arguments = json.loads(job.read_text())
    for name in PATHS:
        arguments[name] = Path(arguments[name])
    team = join(arguments["device"])
    try:
        train_run(**arguments, progress=sys.stderr if team.leads else None, team=team)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
