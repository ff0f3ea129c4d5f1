"""Runs a job's script in a worker that is already there, before anything is imported.

Snakemake runs `python script`; with the prefix of `muonlab.jobs.warm.prefix` it runs
`python -S -P warm_start.py python script`. The script begins by importing parts of Snakemake, which
takes longer than handing it over. Where there is no worker yet, the script runs as it would without
the prefix, and starts one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from muonlab.jobs.warm import run_command

run_command(sys.argv[1:])
