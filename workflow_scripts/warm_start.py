"""Runs a job's script in a worker that is already there, before anything is imported.

Snakemake runs `python script`; with the prefix of `muonlab.jobs.warm.prefix` it runs
`python -S -P warm_start.py python script`. The script begins by importing parts of Snakemake, which
takes longer than handing it over. Where there is no worker yet, the script runs as it would without
the prefix, and starts one.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from muonlab.jobs.client import run_command

run_command(sys.argv[1:])
